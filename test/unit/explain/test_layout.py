"""Places for the nodes of a graph: none covers another, edges lead downwards, and large graphs are quick."""

import random
import time
from itertools import pairwise

import pytest

from mlirfuse.explain.layout import layered


def graph(nodes: int, seed: int) -> list[tuple[int, int]]:
    """A chain with branches and skips, as networks have them."""
    choose = random.Random(seed)
    edges = {(max(0, n - choose.randint(1, 3)), n) for n in range(1, nodes)}
    edges |= {tuple(sorted(choose.sample(range(nodes), 2))) for _ in range(nodes // 10 if nodes > 1 else 0)}
    return sorted(edges, key=lambda edge: (edge[1], edge[0]))


@pytest.mark.parametrize("nodes", [0, 1, 2, 30, 200])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_covers_anything_and_edges_lead_down(nodes: int, seed: int) -> None:
    widths = [60.0 + 10 * (n % 7) for n in range(nodes)]
    edges = graph(nodes, seed)
    layout = layered(widths, edges)
    assert layered(widths, edges) == layout
    rows: dict[float, list[int]] = {}
    for n in range(nodes):
        assert layout.x[n] - widths[n] / 2 >= -0.1 and layout.x[n] + widths[n] / 2 <= layout.width + 0.1
        rows.setdefault(layout.y[n], []).append(n)
    for row in rows.values():
        row.sort(key=lambda n: layout.x[n])
        for left, right in pairwise(row):
            assert layout.x[left] + widths[left] / 2 < layout.x[right] - widths[right] / 2
    for (a, b), route in zip(edges, layout.routes, strict=True):
        heights = [layout.y[a], *(y for _, y in route), layout.y[b]]
        assert heights == sorted(set(heights))


def test_a_chain_is_a_line() -> None:
    layout = layered([50.0, 90.0, 70.0], [(0, 1), (1, 2)])
    assert len(set(layout.x)) == 1 and layout.y == (42.0, 126.0, 210.0)


def test_two_thousand_nodes_take_seconds() -> None:
    start = time.process_time()
    layered([80.0] * 2000, graph(2000, 0))
    assert time.process_time() - start < 10
