"""`mlirfuse explain`: the groups of a network, and for every edge that is not fused the reason and its numbers."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlirfuse.cli import arguments
from mlirfuse.cli.compare import compare_plans
from mlirfuse.cli.display import Display, amount, count, microseconds, size
from mlirfuse.cli.model import artifact_of, model_of
from mlirfuse.cli.overrides import print_overrides
from mlirfuse.cli.reuse import print_group_reuse, print_reuse_summary
from mlirfuse.errors import MlirfuseError
from mlirfuse.files import write_file

if TYPE_CHECKING:
    from mlirfuse.cli.model import Model
    from mlirfuse.explain.facts import Edge, Explanation, GroupFacts, JoinedEdge, Rewrite

HELP = "show what is fused, and why every other edge is not"

_GROUP_COLUMNS = ("group", "nodes", "operators", "mapping", "mode", "anchor", "kernel", "result")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser)
    query = parser.add_mutually_exclusive_group()
    query.add_argument("--node", metavar="NAME", help="only what concerns this ONNX node")
    query.add_argument("--edge", metavar="A,B", help="only the edge from one ONNX node to another: fused, or why not")
    query.add_argument("--group", metavar="N", type=arguments.seed, help="only this group")
    compared = "the plans for other targets beside it, and where they differ"
    query.add_argument("--compare", metavar="TARGET,...", type=arguments.names, default=(), help=compared)
    parser.add_argument("--html", metavar="FILE", help="write the explanation as a page: the graph, with reasons")
    arguments.add_compile_options(parser)
    arguments.add_json(parser)


def execute(args: argparse.Namespace) -> int:
    if args.compare:
        return compare_plans(args)
    whole = _explanation(model_of(args.model), args)
    part = _queried(whole, args)
    display = Display(args.json)
    if args.html:
        from mlirfuse.explain.page import page

        write_file(args.html, page(whole).encode())  # before the text: a reader that is gone does not lose the file
    _print(display, part, queried=part is not whole)
    display.result(part.to_dict())
    return 0


def _explanation(model: Model, args: argparse.Namespace) -> Explanation:
    """The explanation that an artifact carries, or that of the plan for a model."""
    if model.kind == "artifact":
        return _carried(artifact_of(model, args), model)
    from mlirfuse.cli.progress import step_progress
    from mlirfuse.compiler import explain
    from mlirfuse.options import parse_target

    target = args.target or arguments.DEFAULT_TARGET
    parse_target(target)
    with step_progress(f"planning {model.name}"):
        return explain(model.source, target, arguments.compile_options(args))


def _carried(artifact: Any, model: Model) -> Explanation:
    from mlirfuse.explain import SCHEMA, Explanation

    data = artifact.explained()
    if data is None:
        raise MlirfuseError(
            f"{model.text} does not say why it is fused as it is: it was made by a version of mlirfuse that did not "
            "keep that. Compile the model again, or explain the ONNX model with the same options."
        )
    try:
        return Explanation.from_dict(data)
    except (KeyError, TypeError, ValueError) as error:
        raise MlirfuseError(
            f"The explanation in {model.text} is not one of schema {SCHEMA}, which this version of mlirfuse reads "
            f"({type(error).__name__}: {error}). Compile the model again."
        ) from None


def _queried(whole: Explanation, args: argparse.Namespace) -> Explanation:
    if args.node is not None:
        return whole.of_node(args.node)
    if args.edge is not None:
        return whole.of_edge(args.edge)
    return whole if args.group is None else whole.of_group(args.group)


# --- printing -------------------------------------------------------------------------------------


def _print(display: Display, part: Explanation, queried: bool) -> None:
    totals = part.totals
    saved = f"{size(totals.bytes_not_stored)} of values between nodes never stored"
    again = f", {amount(totals.flops_added, 'FLOP')} computed again" if totals.flops_added else ""
    launches = count(totals.launches, "launch", "launches")
    groups = count(totals.groups, "group")
    display.line(f"{part.model} for {part.target}: {groups}, {launches}, {saved}{again}", style="bold")
    if len(part.groups) == 1 and queried:
        _print_group(display, part.groups[0])
        print_group_reuse(display, part.groups[0])
    elif part.groups:
        display.table(
            [*_GROUP_COLUMNS, "work", "added", "moved", "saved", "launches"],
            [_group_row(group) for group in part.groups],
            left=_GROUP_COLUMNS,
        )
        print_reuse_summary(display, part)
    if part.on_host:
        display.line(f"on the host, without kernels: {', '.join(part.on_host)}")
    if part.in_place:
        display.line(f"written in place, without a launch: {', '.join(part.in_place)}")
    if queried and part.joined:
        _print_joined(display, part.joined)
    _print_edges(display, part.edges)
    _print_rewrites(display, part.rewrites)
    print_overrides(display, [o.to_dict() for o in part.overrides])


def _print_group(display: Display, group: GroupFacts) -> None:
    """One group as a list of facts."""
    facts = [
        ("nodes", " ".join(group.nodes)),
        ("operators", " ".join(group.ops)),
        ("mapping type", group.mapping),
        ("mode", group.mode),
        ("anchors" if len(group.anchors) > 1 else "anchor", ", ".join(group.anchors) or "none"),
        ("kernel", _kernel(group)),
        ("result", _extents(group.shape)),
        ("launches", group.launches),
        ("work", amount(group.flops, "FLOP")),
        ("computed again", amount(group.flops_added, "FLOP")),
        ("read", size(group.bytes_read)),
        ("written", size(group.bytes_written)),
        ("not stored, thanks to fusion", size(group.bytes_not_stored)),
        ("traffic saved by fusion", size(group.bytes_saved)),
        ("time by the cost model", _seconds(group)),
        ("time by a roofline", microseconds(group.seconds)),
    ]
    display.table([f"group {group.number}", ""], facts, left=("",))


def _seconds(group: GroupFacts) -> str:
    return "not scheduled" if group.predicted_seconds is None else microseconds(group.predicted_seconds)


def _kernel(group: GroupFacts) -> str:
    """The kind of kernel with its schedule; that of a tile's stages is told stage by stage."""
    told = () if group.reuse is None and group.side_by_side is None else ("stages", "orders")
    schedule = {name: value for name, value in (group.schedule or {}).items() if name not in told}
    return _compact({"kind": group.kernel, **schedule}) or "not scheduled"


def _print_joined(display: Display, joined: Sequence[JoinedEdge]) -> None:
    display.line(f"{count(len(joined), 'edge')} fused", style="bold")
    display.table(["from", "to", "group", "value", "is"], map(_joined_row, joined), left=("to", "is"))


def _joined_row(edge: JoinedEdge) -> list[Any]:
    told = "also stored, for others" if edge.stored else "not stored"
    return [" ".join(edge.producer), " ".join(edge.consumer), edge.group, size(edge.bytes), told]


def _print_edges(display: Display, edges: Sequence[Edge]) -> None:
    kinds = Counter(edge.kind for edge in edges)
    summary = ", ".join(f"{n} by {kind}" for kind, n in kinds.most_common())
    display.line(f"\n{count(len(edges), 'edge')} not fused{': ' + summary if summary else ''}", style="bold")
    if edges:
        display.table(
            ["from", "to", "by", "reason", "numbers"],
            [[" ".join(e.producer), " ".join(e.consumer), e.kind, e.reason, _compact(e.numbers)] for e in edges],
            left=("to", "by", "reason", "numbers"),
        )


def _print_rewrites(display: Display, rewrites: Sequence[Rewrite]) -> None:
    """Those that were made, then those that were refused and why."""
    made = [r for r in rewrites if not r.reason]
    refused = [r for r in rewrites if r.reason]
    columns = ("rule", "class", "nodes")
    if made:
        display.line(f"{count(len(made), 'rewrite')} before planning", style="bold")
        rows = [[*_rewrite_row(r), *_drop(r.flops_before, r.flops_after, "FLOP")] for r in made]
        display.table([*columns, "work before", "after"], rows, left=columns)
    if refused:
        display.line(f"{count(len(refused), 'rewrite')} refused", style="bold")
        rows = [[*_rewrite_row(r), r.reason] for r in refused]
        display.table([*columns, "reason"], rows, left=(*columns, "reason"))


def _rewrite_row(rewrite: Rewrite) -> list[Any]:
    return [rewrite.rule, rewrite.numeric_class, _names(rewrite.nodes)]


def _drop(before: int, after: int, unit: str) -> tuple[str, str]:
    return amount(before, unit), amount(after, unit)


def _names(names: Sequence[str], limit: int = 6) -> str:
    """The first few names; all are in the JSON, and in what --group tells of one group."""
    return " ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _group_row(group: GroupFacts) -> list[Any]:
    return [
        group.number, _names(group.nodes), _names(group.ops), group.mapping, group.mode, group.anchor, group.kernel,
        _extents(group.shape), amount(group.flops, "FLOP") if group.flops else None,
        amount(group.flops_added, "FLOP") if group.flops_added else None, size(group.bytes_read + group.bytes_written),
        size(group.bytes_saved) if group.bytes_saved else None, group.launches,
    ]  # fmt: skip


def _extents(shape: Sequence[int | None]) -> str:
    return "x".join("?" if d is None else str(d) for d in shape) or "scalar"


def _compact(data: Mapping[str, Any] | None) -> str:
    """kind=gemm tile=64x32, without what says nothing."""
    return " ".join(
        f"{name}={_value(value)}" for name, value in (data or {}).items() if value not in (None, (), [], False, "")
    )


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
