"""How often a kernel computes its elements: once, unless a reader takes them from several places."""

import pytest
from plan_graphs import GraphBuilder, image, vector

from mlirfuse.lowering.plan.recomputation import evaluations, recomputed_flops


def test_a_chain_computes_nothing_again():
    g = GraphBuilder()
    x = g.conv(image())
    g.unary("relu", g.binary("add", x, vector(), constant=(1,)))
    graph = g.graph()
    assert recomputed_flops(graph, range(len(graph))) == 0


def test_what_two_readers_use_in_place_is_computed_once():
    g = GraphBuilder()
    x = g.unary("relu", image())
    g.binary("add", g.unary("exp", x), g.unary("neg", x))
    graph = g.graph()
    assert evaluations(graph, range(len(graph))) == dict.fromkeys(range(4), 1.0)


@pytest.mark.parametrize("tile", [1, 2, 64])
def test_a_convolution_computes_its_prologue_once_for_each_tile_of_channels(tile: int):
    g = GraphBuilder()
    first = g.unary("relu", image())
    g.unary("relu", g.conv(first))
    graph = g.graph()
    channels = graph[1].node.inputs[1].dims[0]
    tiles = -(-channels // tile)
    assert evaluations(graph, range(3), tile) == {0: tiles, 1: 1.0, 2: 1.0}
    assert recomputed_flops(graph, range(3), tile) == (tiles - 1) * graph[0].flops
    assert recomputed_flops(graph, [1, 2], tile) == 0
