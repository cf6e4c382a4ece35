"""What stands beside a chain of anchors is told why it is not in its kernel, by the chain's own reason."""

from plan_graphs import GraphBuilder, check_plan

from mlirfuse.dialect import TensorType
from mlirfuse.lowering.plan.plan_options import PlanOptions
from mlirfuse.lowering.plan.planner import plan_graph

HEADS, ROWS, DEPTH = 4, 64, 16
WIDTH = HEADS * DEPTH


def layer(*, shared_mask=False, heads_apart=True):
    """Projection of queries, keys and values at once; attention; a projection of its result. One of two layers' mask.

    Nodes by name: Project, Scores, Softmax, Values, Merge (a transpose), Out.
    """
    g = GraphBuilder()
    x = g.op("contract", TensorType((1, ROWS, WIDTH)), TensorType((WIDTH, 3 * WIDTH)), equation="amk,kn->amn", name="P")

    def part(number, perm):
        starts = (0, 0, number * WIDTH)
        y = g.op("slice", x, starts=starts, sizes=(1, ROWS, WIDTH), steps=(1, 1, 1), name=f"Part{number}")
        return g.op("transpose", g.op("reshape", y, shape=(1, ROWS, HEADS, DEPTH)), perm=perm)

    mask = g.unary("exp", TensorType((1, 1, 1, ROWS)), name="Mask", returned=shared_mask)
    q, k = part(0, (0, 2, 1, 3)), part(1, (0, 2, 3, 1))
    s = g.binary("add", g.op("contract", q, k, equation="abmk,abkn->abmn", name="Scores"), mask, name="Masked")
    p = g.op("softmax", s, axes=(3,), log=False, name="Softmax")
    y = g.op("contract", p, part(2, (0, 2, 1, 3)), equation="abmk,abkn->abmn", name="Values")
    if heads_apart:
        g.op("contract", y, TensorType((HEADS, DEPTH, DEPTH)), equation="abmk,bkn->abmn", name="Out")
    else:
        m = g.op("reshape", g.op("transpose", y, perm=(0, 2, 1, 3)), shape=(1, ROWS, WIDTH), name="Merge")
        g.op("contract", m, TensorType((WIDTH, WIDTH)), equation="amk,kn->amn", name="Out")
    return g


def planned(builder, **options):
    graph = builder.graph()
    plan = plan_graph(graph, PlanOptions(**options))
    check_plan(graph, plan)
    assert len(plan.proofs) == 1
    chain = next(b for b in plan.blocks if sum(graph[m].is_anchor for m in b) > 1)
    return graph, chain, {(v.producer[0], v.consumer[0]): v for _, _, v in plan.verdicts}


def test_the_end_of_a_chain_is_named_and_why_it_does_not_go_on():
    _, _, verdicts = planned(layer(heads_apart=False))
    verdict = verdicts["Merge", "Out"]
    assert verdict.kind == "legality"
    assert verdict.reason == (
        "Values (contract), the end of a chain of 3 anchors, does not hand on to Out (contract): "
        "fusion.transpose stands between fusion.contract and fusion.contract"
    )
    numbers = verdict.numbers
    assert (numbers["anchors"], numbers["anchors_of_producer"], numbers["anchors_of_consumer"]) == (4, 3, 1)


def test_the_start_of_a_chain_is_named_and_why_nothing_is_handed_to_it():
    _, _, verdicts = planned(layer())
    into = [v for v in verdicts.values() if v.producer == ("P",)]
    assert {v.reason for v in into} == {
        "P (contract) does not hand on to Scores (contract), the start of a chain of 3 anchors: "
        "the result of fusion.contract has 3 uses, and a stage hands it on once"
    }
    assert {v.numbers["anchors_of_consumer"] for v in into} == {3}


def test_a_chain_that_could_go_on_says_how_long_chains_are():
    _, _, verdicts = planned(layer())
    verdict = verdicts["Values", "Out"]
    assert "no chain has more than 3 anchors" in verdict.reason
    assert (verdict.numbers["anchors"], verdict.numbers["limit"]) == (4, 3)


def test_what_others_read_too_stays_outside_of_a_chain():
    _, _, verdicts = planned(layer(shared_mask=True))
    verdict = verdicts["Mask", "Masked"]
    assert "Mask is also read by the caller, but does not follow Values" in verdict.reason
    assert verdict.numbers["other_readers"] == 1
    assert all("share a kernel" not in v.reason for v in verdicts.values())


def attention_with_followers():
    """Attention whose result element-wise ops follow; its first row has a reader that works on rows."""
    g = GraphBuilder()
    q, k, v = (TensorType((1, HEADS, *s)) for s in ((ROWS, DEPTH), (DEPTH, ROWS), (ROWS, DEPTH)))
    p = g.op("softmax", g.op("contract", q, k, equation="abmk,abkn->abmn", name="Scores"), axes=(3,), log=False)
    y = g.op("contract", p, v, equation="abmk,abkn->abmn", name="Values")
    g.unary("tanh", g.binary("add", y, TensorType((1, HEADS, ROWS, DEPTH)), name="Add"), name="Tanh")
    first = g.op("slice", y, starts=(0, 0, 0, 0), sizes=(1, HEADS, 1, DEPTH), steps=(1, 1, 1, 1), name="First")
    g.op("softmax", first, axes=(3,), log=False, name="Choice")
    return g


def test_element_wise_ops_follow_a_chain_and_what_has_other_elements_does_not():
    graph, chain, verdicts = planned(attention_with_followers())
    assert {graph[m].label for m in chain} >= {"Values", "Add", "Tanh"}
    assert set(verdicts) == {("Values", "First")}
    verdict = verdicts["Values", "First"]
    assert "Values (contract), the end of a chain of 3 anchors, does not hand on to Choice (softmax)" in verdict.reason


def test_a_second_operand_of_what_follows_a_chain_comes_from_memory():
    g = GraphBuilder()
    q, k, v = (TensorType((1, HEADS, *s)) for s in ((ROWS, DEPTH), (DEPTH, ROWS), (ROWS, DEPTH)))
    p = g.op("softmax", g.op("contract", q, k, equation="abmk,abkn->abmn"), axes=(3,), log=False)
    y = g.op("contract", p, v, equation="abmk,abkn->abmn", name="Values")
    other = g.op(
        "contract", TensorType((1, HEADS, ROWS, 8)), TensorType((8, DEPTH)), equation="abmk,kn->abmn", name="O"
    )
    g.binary("add", y, other, name="Sum")
    graph, chain, verdicts = planned(g)
    assert next(n.index for n in graph if n.label == "Sum") not in chain
    assert set(verdicts) == {("Values", "Sum")}
    assert "O (contract)" in verdicts["Values", "Sum"].reason
