"""`mlirfuse explain`: the groups of a network, and for every edge that is not fused the reason and its numbers."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlirfuse.cli import arguments
from mlirfuse.cli.display import Display, amount, count, size, write_file
from mlirfuse.cli.model import model_of
from mlirfuse.errors import MlirfuseError

if TYPE_CHECKING:
    from mlirfuse.explain import Explanation, GroupFacts
    from mlirfuse.lowering.plan.verdict import Verdict

HELP = "show what is fused, and why every other edge is not"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser)
    parser.add_argument("--node", metavar="NAME", help="only what concerns this ONNX node")
    parser.add_argument("--html", metavar="FILE", help="write the explanation as a page")
    arguments.add_compile_options(parser)
    arguments.add_json(parser)


def execute(args: argparse.Namespace) -> int:
    model = model_of(args.model)
    if model.kind == "artifact":
        raise MlirfuseError(
            f"{model.text} holds kernels and no plan; "
            "explain the ONNX model that it was compiled from, with the same options."
        )
    from mlirfuse.compiler import emit
    from mlirfuse.explain import explain_text
    from mlirfuse.options import parse_target

    target = args.target or arguments.DEFAULT_TARGET
    parse_target(target)
    text, _ = emit(model.source, target, arguments.compile_options(args), "scheduled")
    explanation = explain_text(str(text))
    if args.node:
        explanation = _of_node(explanation, args.node)
    display = Display(args.json, record=args.html is not None)
    _print(display, explanation, target)
    if args.html:
        page = display.console.export_html(inline_styles=True)
        write_file(args.html, page.encode())
    display.result({"target": target, **explanation.to_dict()})
    return 0


def _of_node(explanation: Explanation, name: str) -> Explanation:
    part = explanation.of_node(name)
    if not (part.groups or part.edges or part.on_host or part.in_place):
        known = list(dict.fromkeys(n for g in explanation.groups for n in g.nodes))
        some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        raise MlirfuseError(
            f"No operation stands for a node '{name}': the model has none of that name, or rewriting removed it. "
            f"There are {some}."
        )
    return part


def _print(display: Display, explanation: Explanation, target: str) -> None:
    groups, saved = count(len(explanation.groups), "group"), size(explanation.bytes_not_stored)
    title = f"{explanation.model} for {target}: {groups}, {saved} of values between nodes never stored"
    display.line(title, style="bold")
    display.table(
        ["group", "nodes", "operators", "mapping", "mode", "result", "work", "moved", "not stored", "schedule"],
        [_group_row(group) for group in explanation.groups],
        left=("nodes", "operators", "mapping", "mode", "result", "schedule"),
    )
    if explanation.on_host:
        display.line(f"on the host, without kernels: {', '.join(explanation.on_host)}")
    if explanation.in_place:
        display.line(f"written in place, without a launch: {', '.join(explanation.in_place)}")
    kinds = Counter(edge.kind for edge in explanation.edges)
    summary = ", ".join(f"{n} by {kind}" for kind, n in kinds.most_common())
    display.line(
        f"\n{count(len(explanation.edges), 'edge')} not fused{': ' + summary if summary else ''}", style="bold"
    )
    if explanation.edges:
        display.table(
            ["from", "to", "by", "reason", "numbers"],
            [_edge_row(e) for e in explanation.edges],
            left=("to", "by", "reason", "numbers"),
        )


def _group_row(group: GroupFacts) -> list[Any]:
    shape = "x".join("?" if d is None else str(d) for d in group.shape) or "scalar"
    moved = size(group.bytes_read + group.bytes_written)
    saved = size(group.bytes_not_stored) if group.bytes_not_stored else None
    return [
        group.number, " ".join(group.nodes), " ".join(group.ops), group.mapping, group.mode, shape,
        amount(group.flops, "FLOP") if group.flops else None, moved, saved, _compact(group.schedule),
    ]  # fmt: skip


def _edge_row(edge: Verdict) -> list[Any]:
    return [" ".join(edge.producer), " ".join(edge.consumer), edge.kind, edge.reason, _compact(edge.numbers)]


def _compact(data: Mapping[str, Any] | None) -> str:
    """kind=gemm tile=64x32, without what says nothing."""
    return " ".join(
        f"{name}={_value(value)}" for name, value in (data or {}).items() if value not in (None, (), [], False, "")
    )


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
