"""The explanation of a module at stage planned or scheduled."""

from __future__ import annotations

from mlirfuse.dialect import attribute_value
from mlirfuse.explain.facts import Edge, Explanation, GroupFacts, JoinedEdge, Totals
from mlirfuse.explain.group_facts import facts_of
from mlirfuse.explain.program import Program
from mlirfuse.lowering.algebra.rewrite_algebra import rewrites_of
from mlirfuse.mlir import context, ir

__all__ = ["explain_module", "explain_text"]


def explain_text(text: str, target: str = "") -> Explanation:
    """The explanation of a module at stage planned or scheduled, as `--emit` prints it."""
    with context():
        return explain_module(ir.Module.parse(text), target)


def explain_module(module: ir.Module, target: str = "") -> Explanation:
    """As `explain_text`, in the context of the module."""
    program = Program.read(module.operation)
    groups = tuple(facts_of(program, number) for number in range(len(program.groups)))
    edges, joined = program.edges()
    stored = {e.producer_number: program.entries[e.producer_number].bytes for e in edges}
    return Explanation(
        model=attribute_value(module.operation, "fusion.model", ""),
        target=target,
        operators=tuple(map(program.operator, program.entries)),
        groups=groups,
        edges=tuple(edges),
        joined=tuple(joined),
        inputs=program.inputs(),
        outputs=program.outputs(),
        rewrites=rewrites_of(module),
        device=attribute_value(module.operation, "fusion.device", ""),
        totals=_totals(program, groups, edges, joined, sum(stored.values())),
    )


def _totals(
    program: Program, groups: tuple[GroupFacts, ...], edges: list[Edge], joined: list[JoinedEdge], stored: int
) -> Totals:
    copied = program.host_copy_bytes()
    return Totals(
        operators=len(program.entries),
        groups=len(groups),
        launches=sum(g.launches for g in groups) + sum(place == "host" for place in program.places),
        edges_fused=len(joined),
        edges_not_fused=len(edges),
        flops=sum(g.flops for g in groups),
        flops_added=sum(g.flops_added for g in groups),
        bytes_moved=sum(g.bytes_read + g.bytes_written for g in groups),
        bytes_not_stored=sum(g.bytes_not_stored for g in groups),
        bytes_saved=sum(g.bytes_saved for g in groups),
        intermediate_bytes=stored,
        host_copy_bytes=copied,
        seconds=sum(g.seconds for g in groups) + program.model.copy_seconds(copied),
        predicted_seconds=sum(g.predicted_seconds or 0.0 for g in groups) + program.model.copy_seconds(copied),
    )
