"""The planner takes what was measured for what the model says, where all three kernels were measured."""

import pytest
from plan_graphs import GraphBuilder, check_plan
from profiles import database, measured

from mlirfuse.dialect import TensorType
from mlirfuse.lowering.plan.measured import MeasuredModel, block_structure
from mlirfuse.lowering.plan.planner import plan_graph
from mlirfuse.lowering.plan.resources import ResourceModel

# softmax, then a transpose of its result: Many-to-Many into Shuffle, a cell that may or may not pay.
SOFTMAX, MOVED = 0, 1
LAYOUT = "nhwc"


def graph(rows=8):
    b = GraphBuilder()
    x = b.op("softmax", TensorType((rows, 16)), name="weigh", axes=(1,), log=False)
    b.op("transpose", x, name="turn", perm=(1, 0))
    return b.graph()


def model(tmp_path, seconds):
    """A chooser for which `seconds` of each block of `graph()` were measured."""
    rows = [measured(block_structure(graph(), members, LAYOUT), s) for members, s in seconds.items()]
    return MeasuredModel(database(tmp_path / "p.db", *rows).profile("abacus", "v1"), ResourceModel(), LAYOUT)


def times(together, first=1e-6, second=1e-6):
    return {(SOFTMAX,): first, (MOVED,): second, (SOFTMAX, MOVED): together}


def test_the_planted_times_decide(tmp_path):
    assert check_plan(graph(), plan_graph(graph())) == [(0, 1)]
    slow = plan_graph(graph(), chooser=model(tmp_path / "slow", times(3e-6)))
    assert check_plan(graph(), slow) == [(0,), (1,)]
    ((_, _, verdict),) = slow.verdicts
    assert verdict.kind == "cost" and "as measured" in verdict.reason
    wanted = {"source": "measured", "seconds_together": 3e-6, "seconds_apart": 2e-6}
    assert dict(verdict.numbers).items() >= {**wanted, "seconds_first": 1e-6, "seconds_second": 1e-6}.items()
    fast = plan_graph(graph(), chooser=model(tmp_path / "fast", times(2e-6)))
    assert check_plan(graph(), fast) == [(0, 1)]


def test_a_measurement_also_joins_what_the_model_would_not(tmp_path):
    pessimist = ResourceModel(launch=-1.0)  # every launch saves a second
    assert check_plan(graph(), plan_graph(graph(), chooser=pessimist)) == [(0,), (1,)]
    profile = model(tmp_path, times(2e-6)).profile
    assert check_plan(graph(), plan_graph(graph(), chooser=MeasuredModel(profile, pessimist, LAYOUT))) == [(0, 1)]


@pytest.mark.parametrize("missing", [(SOFTMAX,), (MOVED,), (SOFTMAX, MOVED)])
def test_the_model_answers_what_was_not_measured_whole(tmp_path, missing):
    some = {k: v for k, v in times(1.0).items() if k != missing}
    assert check_plan(graph(), plan_graph(graph(), chooser=model(tmp_path, some))) == [(0, 1)]


def test_other_shapes_and_layouts_were_not_measured(tmp_path):
    chooser = model(tmp_path, times(3e-6))
    assert check_plan(graph(16), plan_graph(graph(16), chooser=chooser)) == [(0, 1)]
    elsewhere = MeasuredModel(chooser.profile, ResourceModel(), "nchw")
    assert check_plan(graph(), plan_graph(graph(), chooser=elsewhere)) == [(0, 1)]


def test_blocks_that_differ_in_names_only_are_one(tmp_path):
    b = GraphBuilder()
    for n in range(3):
        x = b.op("softmax", TensorType((8, 16)), name=f"weigh{n}", axes=(1,), log=False)
        b.op("transpose", x, name=f"turn{n}", perm=(1, 0))
    twins = b.graph()
    assert len({block_structure(twins, (2 * n, 2 * n + 1), LAYOUT) for n in range(3)}) == 1
    plan = plan_graph(twins, chooser=model(tmp_path, times(3e-6)))
    assert len(check_plan(twins, plan)) == 6
