"""The explanation as one page that needs nothing else: the graph before and after fusion, and the reason for each part.

`page.html` is the frame, `page.css` and `page.js` are put into it, the data goes in as JSON with the places of the
nodes. The same explanation gives the same bytes. Nothing on the page is fetched from anywhere.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from mlirfuse.explain.facts import Explanation, Operator
from mlirfuse.explain.layout import layered

__all__ = ["page"]

LETTER = 6.6  # px that a letter of a node's label is wide
LONGEST = 26  # letters of a label; the whole of it is in the details


def page(explanation: Explanation) -> str:
    """The HTML of the page."""
    data = {
        "explanation": explanation.to_dict(),
        "before": _view(*_operators(explanation)),
        "after": _view(*_groups(explanation)),
    }
    # A `<` could end the script element.
    text = json.dumps(data, separators=(",", ":"), sort_keys=True, allow_nan=False).replace("<", "\\u003c")
    parts = {name: files("mlirfuse.explain").joinpath(f"page.{name}").read_text() for name in ("html", "css", "js")}
    title = html.escape(f"{explanation.model} for {explanation.target}: how it is fused")
    parts |= {"title": title, "data": text}
    # All at once, so that nothing in one of them is taken for the mark of another.
    return re.sub("@(title|css|js|data)@", lambda mark: parts[mark[1]], parts["html"])


def _operators(explanation: Explanation) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Nodes and edges before fusion: inputs, operators, outputs; every edge, fused or not."""
    nodes: list[dict[str, Any]] = [
        {"kind": "input", "item": i, "lines": ["input", value.name]} for i, value in enumerate(explanation.inputs)
    ]
    first = len(nodes)
    nodes += [{"kind": "operator", "item": o.number, "lines": _lines(o)} for o in explanation.operators]
    edges: list[dict[str, Any]] = [
        {"ends": (i, first + reader)} for i, value in enumerate(explanation.inputs) for reader in value.operators
    ]
    found = [
        *((e.producer_number, e.consumer_number, {"apart": i}) for i, e in enumerate(explanation.edges)),
        *((e.producer_number, e.consumer_number, {"joined": i}) for i, e in enumerate(explanation.joined)),
    ]
    edges += [{"ends": (first + p, first + c), **what} for p, c, what in sorted(found, key=lambda e: (e[1], e[0]))]
    _add_outputs(explanation, nodes, edges, {o.number: first + o.number for o in explanation.operators})
    return nodes, edges


def _groups(explanation: Explanation) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Nodes and edges after fusion: inputs, groups, what is outside of groups, outputs; the edges that are left."""
    units: list[tuple[int, dict[str, Any], tuple[int, ...]]] = []
    for group in explanation.groups:
        lines = [f"group {group.number}", group.anchor or " ".join(group.ops)]
        units.append((max(group.operators), {"kind": "group", "item": group.number, "lines": lines}, group.operators))
    for operator in explanation.operators:
        if operator.group is None:
            node = {"kind": "operator", "item": operator.number, "lines": _lines(operator)}
            units.append((operator.number, node, (operator.number,)))
    nodes: list[dict[str, Any]] = [
        {"kind": "input", "item": i, "lines": ["input", value.name]} for i, value in enumerate(explanation.inputs)
    ]
    place: dict[int, int] = {}
    for _, node, members in sorted(units, key=lambda unit: unit[0]):
        place |= dict.fromkeys(members, len(nodes))
        nodes.append(node)
    edges: dict[tuple[int, int], dict[str, Any]] = {}
    for i, value in enumerate(explanation.inputs):
        for reader in value.operators:
            edges.setdefault((i, place[reader]), {"ends": (i, place[reader])})
    for i, edge in enumerate(explanation.edges):
        ends = (place[edge.producer_number], place[edge.consumer_number])
        edges.setdefault(ends, {"ends": ends, "edges": []})["edges"].append(i)
    listed = list(edges.values())
    _add_outputs(explanation, nodes, listed, place)
    return nodes, listed


def _add_outputs(
    explanation: Explanation, nodes: list[dict[str, Any]], edges: list[dict[str, Any]], place: dict[int, int]
) -> None:
    for i, value in enumerate(explanation.outputs):
        edges += [{"ends": (place[maker], len(nodes))} for maker in value.operators]
        nodes.append({"kind": "output", "item": i, "lines": ["output", value.name]})


def _lines(operator: Operator) -> list[str]:
    group = "" if operator.group is None else f" · {operator.group}"
    return [operator.op + group, operator.label]


def _view(nodes: Sequence[dict[str, Any]], edges: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Nodes and edges with their places: what the page draws."""
    drawn = [{**node, "lines": [_short(line) for line in node["lines"]]} for node in nodes]
    widths = [max(len(line) for line in node["lines"]) * LETTER + 24 for node in drawn]
    layout = layered(widths, [edge["ends"] for edge in edges])
    return {
        "width": layout.width,
        "height": layout.height,
        "nodes": [
            {**node, "x": x, "y": y, "w": round(w, 1)}
            for node, x, y, w in zip(drawn, layout.x, layout.y, widths, strict=True)
        ],
        "edges": [{**edge, "via": route} for edge, route in zip(edges, layout.routes, strict=True)],
    }


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
