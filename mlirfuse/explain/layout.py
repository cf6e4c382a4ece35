"""Places for the nodes of a directed acyclic graph, in layers from top to bottom (Sugiyama's method).

1. A node's layer is one more than the deepest of those that it reads, sources move down to their first reader.
2. An edge over several layers is a chain of points, one in each.
3. Sweeps down and up order each layer by the barycentre of the neighbours in the layer before.
4. Places along a layer: as near to the mean of the neighbours as the order and the widths allow.

Linear in edges and points for each sweep; the same graph gets the same places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Layout", "layered"]

SWEEPS = 8
GAP = 24.0  # between neighbours of a layer
BEND = 8.0  # the width that an edge takes where it passes a layer


@dataclass(frozen=True)
class Layout:
    """`x[i]`, `y[i]` is the centre of node i; `routes[e]` the points that edge e passes, its ends left out."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


def layered(widths: Sequence[float], edges: Sequence[tuple[int, int]], pitch: float = 84.0) -> Layout:
    """A place for each node, `widths` wide, in layers `pitch` apart, every edge leading to a higher index."""
    layers = _layers(len(widths), edges)
    points, chains, near = _points(widths, edges, layers)
    order = _order(points.layer, near)
    x = _places(order, points.width, near)
    height = (max(layers, default=0) + 1) * pitch
    y = [(layer + 0.5) * pitch for layer in points.layer]
    routes = tuple(tuple((round(x[p], 1), round(y[p], 1)) for p in chain) for chain in chains)
    right = max((x[i] + points.width[i] / 2 for i in range(len(x))), default=0.0)
    n = len(widths)
    return Layout(
        tuple(round(v, 1) for v in x[:n]), tuple(round(v, 1) for v in y[:n]), routes, round(right, 1), round(height, 1)
    )


@dataclass
class _Points:
    """Nodes, then the points of long edges."""

    layer: list[int]
    width: list[float]


Near = tuple[list[list[int]], list[list[int]]]  # the neighbours of each point in the layer above, and below


def _layers(nodes: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    above: list[list[int]] = [[] for _ in range(nodes)]
    below: list[list[int]] = [[] for _ in range(nodes)]
    for a, b in edges:
        assert a < b, "every edge leads to a higher index"
        above[b].append(a)
        below[a].append(b)
    layers = [0] * nodes
    for n in range(nodes):
        layers[n] = max((layers[a] + 1 for a in above[n]), default=0)
    for n in reversed(range(nodes)):
        if not above[n] and below[n]:
            layers[n] = min(layers[b] for b in below[n]) - 1
    return layers


def _points(
    widths: Sequence[float], edges: Sequence[tuple[int, int]], layers: list[int]
) -> tuple[_Points, list[list[int]], Near]:
    """Break long edges into chains. What leads past the same layers from the same node shares its points."""
    points = _Points(list(layers), list(widths))
    made: dict[tuple[int, int], int] = {}
    pairs: dict[tuple[int, int], None] = {}
    chains = []
    for a, b in edges:
        chain = []
        last = a
        for layer in range(layers[a] + 1, layers[b]):
            if (a, layer) not in made:
                made[a, layer] = len(points.layer)
                points.layer.append(layer)
                points.width.append(BEND)
            point = made[a, layer]
            pairs[last, point] = None
            chain.append(point)
            last = point
        pairs[last, b] = None
        chains.append(chain)
    above: list[list[int]] = [[] for _ in points.layer]
    below: list[list[int]] = [[] for _ in points.layer]
    for p, q in pairs:
        above[q].append(p)
        below[p].append(q)
    return points, chains, (above, below)


def _order(layer_of: list[int], near: Near) -> list[list[int]]:
    """The points of each layer from left to right, with few crossings."""
    order: list[list[int]] = [[] for _ in range(max(layer_of, default=-1) + 1)]
    for point, layer in enumerate(layer_of):
        order[layer].append(point)
    rank = [0.0] * len(layer_of)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = near[0] if down else near[1]
        for row in order if down else reversed(order):
            keys = {p: _mean([rank[q] for q in neighbours[p]], rank[p]) for p in row}
            row.sort(key=keys.__getitem__)  # stable
            for i, p in enumerate(row):
                rank[p] = i / max(1, len(row) - 1) if len(row) > 1 else 0.5
    return order


def _places(order: list[list[int]], width: list[float], near: Near) -> list[float]:
    """x of every point: several passes that pull each point to its neighbours and keep the layer's order."""
    x = [0.0] * len(width)
    for row in order:
        left = 0.0
        for p in row:
            x[p] = left + width[p] / 2
            left += width[p] + GAP
        for p in row:
            x[p] -= left / 2
    for sweep in range(SWEEPS):
        neighbours = near[sweep % 2]
        for row in order if sweep % 2 == 0 else reversed(order):
            wanted = [_mean([x[q] for q in neighbours[p]], x[p]) for p in row]
            _settle(row, wanted, width, x)
    shift = min((x[p] - width[p] / 2 for p in range(len(x))), default=0.0)
    return [v - shift for v in x]


def _settle(row: list[int], wanted: list[float], width: list[float], x: list[float]) -> None:
    """Put a layer's points as near to `wanted` as their order and widths allow, by least squares.

    Points that would overlap form blocks that move as one (the pool-adjacent-violators method of isotonic regression).
    """
    offset = 0.0
    offsets = []
    blocks: list[list[float]] = []  # sum of the wished places of the block's first point, number of points
    for i, p in enumerate(row):
        if i:
            offset += (width[row[i - 1]] + width[p]) / 2 + GAP
        offsets.append(offset)
        blocks.append([wanted[i] - offset, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, number = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += number
    at = 0
    for total, number in blocks:
        for _ in range(int(number)):
            x[row[at]] = total / number + offsets[at]
            at += 1


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default
