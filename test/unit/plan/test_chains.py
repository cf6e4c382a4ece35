"""Which anchors share a kernel, by which numbers, and which are refused."""

import pytest
from plan_graphs import GraphBuilder, check_plan

from mlirfuse.dialect import TensorType
from mlirfuse.dialect.indexing import var
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.plan.chain import chain_of, cut_axis, link_boxes, operand_box, tile_box
from mlirfuse.lowering.plan.deep import graph_chain
from mlirfuse.lowering.plan.plan_options import PlanOptions
from mlirfuse.lowering.plan.planner import plan_graph
from mlirfuse.lowering.plan.resources import ResourceModel


def attention(rows=384, keys=384, depth=64, heads=12, *, axes=(3,), scores_also=None, probabilities_returned=False):
    """Nodes 0 to 5: scores, scale, mask, softmax, product, transpose; perhaps another reader of the scores."""
    g = GraphBuilder()
    q, k = TensorType((1, heads, rows, depth)), TensorType((1, heads, depth, keys))
    x = g.op("contract", q, k, equation="abmk,abkn->abmn", name="Scores")
    x = g.binary("mul", x, TensorType(()), name="Scale")
    x = g.binary("add", x, TensorType((1, 1, 1, keys)), name="Mask")
    p = g.op("softmax", x, axes=axes, log=False, name="Softmax", returned=probabilities_returned)
    v = TensorType((1, heads, keys, depth))
    y = g.op("contract", p, v, equation="abmk,abkn->abmn", name="Values")
    g.op("transpose", y, perm=(0, 2, 1, 3), name="Heads")
    if scores_also:
        g.unary(scores_also, x, name="Other")
    return g


def planned(builder, **options):
    graph = builder.graph()
    plan = plan_graph(graph, PlanOptions(**options))
    return check_plan(graph, plan), plan


def test_attention_is_one_block_and_says_what_it_saves():
    blocks, plan = planned(attention())
    assert blocks == [tuple(range(6))]
    [(last, proof)] = plan.proofs
    assert last == 4
    assert (proof.producer, proof.consumer, proof.kind) == (("Scores",), ("Values",), "proof")
    scores = 4 * 12 * 384 * 384
    assert proof.numbers["bytes_not_travelling"] == 2 * 2 * scores  # scores and probabilities, written and read
    assert proof.numbers["shared_bytes"] <= 96 * 1024
    assert proof.numbers["recomputed_flops"] == 0
    assert proof.numbers["seconds_together"] < proof.numbers["seconds_apart"]


@pytest.mark.parametrize("fusion", ["no-cross-layer", "epilogue", "none"])
def test_other_kinds_of_fusion_have_one_anchor_a_block(fusion):
    blocks, plan = planned(attention(), fusion=fusion)
    graph = attention().graph()
    assert all(sum(graph[m].is_anchor for m in block) <= 1 for block in blocks)
    assert plan.proofs == ()


def refusal(builder, **options):
    """Kind, reason and numbers of the verdict between the scores' block and the softmax."""
    graph = builder.graph()
    plan = plan_graph(graph, PlanOptions(**options))
    assert plan.proofs == ()
    found = [v for p, c, v in plan.verdicts if graph[c].node.op == "softmax"]
    assert len(found) == 1
    return found[0]


def test_scores_with_another_reader_are_refused():
    verdict = refusal(attention(scores_also="tanh"))
    assert verdict.kind == "legality"
    assert "2 uses" in verdict.reason


def test_probabilities_that_are_returned_are_refused():
    graph = attention(probabilities_returned=True).graph()
    plan = plan_graph(graph)
    assert plan.proofs == ()
    assert "is also read outside" in str(graph_chain(graph, range(5)))


def test_a_softmax_along_another_dimension_is_refused():
    assert "along the last dimension" in refusal(attention(rows=64, keys=64, axes=(2,))).reason


def test_a_node_that_stays_alone_is_refused():
    assert refusal(attention(), no_fuse=("Softmax",)).kind == "option"


def test_too_few_tiles_are_refused_by_cost():
    verdict = refusal(attention(rows=16, keys=128, heads=2))
    assert verdict.kind == "cost"
    assert verdict.numbers["tiles"] == 2


def test_rows_longer_than_shared_memory_are_refused():
    verdict = refusal(attention(rows=8, keys=32771))  # a prime: no parts
    assert verdict.kind == "resources"
    assert verdict.numbers["shared_bytes"] > verdict.numbers["limit"] == 96 * 1024


def test_long_rows_are_walked_in_parts():
    """Few rows of 4096 scores fit; with the reduction carried from part to part, a tile holds enough of them."""
    _, plan = planned(attention(rows=4096, keys=4096))
    [(_, proof)] = plan.proofs
    assert (proof.numbers["rows"], proof.numbers["part"]) == (32, 128)
    assert proof.numbers["shared_bytes"] <= 96 * 1024


def test_never_worse_than_its_parts_by_the_model_that_decides():
    """Where launches cost nothing and memory is fast, what the tiles read again tips the scales."""
    graph = attention(rows=4096, keys=4096, depth=256, heads=2).graph()
    plan = plan_graph(graph, chooser=ResourceModel(bandwidth=1e11, launch=0.0))
    for _, proof in plan.proofs:
        assert proof.numbers["seconds_together"] <= proof.numbers["seconds_apart"]


def test_the_boxes_of_a_tile():
    graph = attention(rows=100, keys=80, depth=8, heads=3).graph()
    chain = graph_chain(graph, range(6))
    assert [link.anchor.result for link in chain.links] == [0, 3, 4]
    assert [link.kept for link in chain.links] == [2, 3, 4]
    assert cut_axis(chain) == 2
    tile = tile_box(chain, 16)
    assert tile.sizes == (1, 1, 16, 8)
    assert [e.range for e in tile.start] == [(0, 0), (0, 2), (0, 84), (0, 0)]
    boxes = link_boxes(chain, tile)
    assert [box.sizes for box, _ in boxes] == [(1, 1, 16, 80), (1, 1, 16, 80), (1, 1, 16, 8)]
    assert [[b.sizes for b in operands] for _, operands in boxes] == [
        [(1, 1, 16, 8), (1, 1, 8, 80)],
        [(1, 1, 16, 80)],
        [(1, 1, 16, 80), (1, 1, 80, 8)],
    ]


def test_a_box_of_an_operand_follows_the_indexing_function():
    g = GraphBuilder()
    g.conv(TensorType((1, 4, 16, 16)), kernel=1, stride=2)
    node = g.graph()[0].node
    box = Box((var("t0", 1), var("t1", 1), var("t2", 4) * 2, var("t3", 1)), (1, 4, 2, 8))
    found = operand_box(node, 0, box)
    assert found.sizes == (1, 4, 3, 15)
    assert found.start[2] == var("t2", 4) * 4


def test_one_anchor_is_no_chain():
    graph = attention().graph()
    assert "two anchors" in chain_of([], ())
    assert isinstance(graph_chain(graph, (0, 1, 2)), str)
