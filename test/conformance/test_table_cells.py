"""DNNFusion's table 3, cell by cell: 23 that one kernel holds on every target, and 2 that are refused."""

import itertools

import pytest
from answers import compare, compiled, expected_of, outputs_of
from shader_runs import needs_vulkan
from table_operators import OPERATORS, SHAPES, Sketch, make_pair

from mlirfuse.compiler import compile_here
from mlirfuse.dialect import MappingType, WeightStore
from mlirfuse.errors import MlirfuseError
from mlirfuse.frontend import import_model
from mlirfuse.lowering.classify.table import TABLE, most_complex
from mlirfuse.lowering.plan.graph import main_function, read_graph
from mlirfuse.lowering.plan.plan_options import PlanOptions
from mlirfuse.lowering.plan.planner import plan_graph
from mlirfuse.mlir import context
from mlirfuse.options import CompileOptions

VULKAN = pytest.param("vulkan", marks=[needs_vulkan, pytest.mark.slow])
QUICK = 2  # pairs of each cell in `make test`
SHARDS = 8
ONE, MANY, SPREAD = MappingType.ONE_TO_ONE, MappingType.MANY_TO_MANY, MappingType.ONE_TO_MANY

FUSED = [cell for cell, found in TABLE.items() if found.judgement != "refuse"]
REFUSED = [cell for cell, found in TABLE.items() if found.judgement == "refuse"]


def pairs_of(cell):
    """Every pair of operators of a cell that fit each other."""
    made = ((a, b, make_pair(a, b)) for a, b in itertools.product(OPERATORS[cell[0]], OPERATORS[cell[1]]))
    return [found for found in made if found[2] is not None]


def spread(found, count):
    """`count` of some pairs that share no operator while others are left; the same ones every time."""
    chosen, used = [], {}
    while found and len(chosen) < count:
        first, second, pair = min(found, key=lambda p: used.get(p[0].name, 0) + used.get(p[1].name, 0))
        found.remove((first, second, pair))
        chosen.append((first, second, pair))
        for operator in (first, second):
            used[operator.name] = used.get(operator.name, 0) + 1
    return chosen


def named(cell):
    return " into ".join(cell)


def graph_of(model):
    """What planning sees of a model that nothing has rewritten."""
    store = WeightStore()
    with context(), store.active():
        module = import_model(model, store)
        return read_graph(main_function(module.operation))


def check(pair, target, cache):
    """The pair is one kernel, and right; on the simulator also free of races and of accesses out of bounds.

    Nothing is rewritten before: two operators that undo each other would be gone.
    """
    artifact = compiled(pair, target, cache, rewrite="none", force_fuse=[pair.first + pair.second])
    assert artifact.report["totals"]["launches"] == 1
    compare(outputs_of(artifact, pair), expected_of(pair))


def test_the_operators_are_of_their_rows():
    """Alone, each operator is classified as the row of the table that it stands for."""
    for mapping, operators in OPERATORS.items():
        for operator in operators:
            sketch = Sketch()
            result = operator.make(sketch, sketch.input(*SHAPES[operator.rank or 4]))
            found = [n.mapping for n in graph_of(sketch.model(result))]
            assert most_complex(tuple(found)) == mapping, operator.name


def test_23_cells_fuse():
    assert len(FUSED) == 23 and len(REFUSED) == 2


@pytest.mark.parametrize("target", ["simulator", "cpu", VULKAN])
@pytest.mark.parametrize("cell", FUSED, ids=named)
def test_a_cell_is_one_kernel(cell, target, kernels):
    for first, second, pair in spread(pairs_of(cell), QUICK):
        try:
            check(pair, target, kernels)
        except Exception as error:
            error.add_note(f"{first.name}, then {second.name}")
            raise


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("target", ["simulator", "cpu", VULKAN])
def test_every_pair_of_operators_is_one_kernel(target, shard, kernels):
    pairs = [found for cell in FUSED for found in pairs_of(cell)]
    wrong = []
    for first, second, pair in pairs[shard::SHARDS]:
        try:
            check(pair, target, kernels)
        except Exception as error:
            wrong.append(f"{first.name}, then {second.name}: {type(error).__name__}: {error}")
    assert wrong == []


@pytest.mark.parametrize("cell", REFUSED, ids=named)
def test_the_papers_order_leaves_a_refused_cell_apart(cell):
    """The table's word is final there; the verdict names the cell."""
    for first, second, pair in spread(pairs_of(cell), 3 * QUICK):
        plan = plan_graph(graph_of(pair.model), PlanOptions(order="successors"))
        tables = [v for _, _, v in plan.verdicts if v.kind == "table"]
        numbers = [(dict(v.numbers)["first"], dict(v.numbers)["second"]) for v in tables]
        assert cell in numbers or (cell[0] == MANY and len(plan.blocks) > 1), (first.name, second.name)


def masked_choice():
    """where(mask, a, b) reads two whole tensors through a broadcast mask, and a convolution reads what it gives."""
    d = Sketch()
    shape = SHAPES[4]
    mask = d.node("Cast", d.input(1, 1, *shape[2:]), to=9)
    chosen = d.node("Where", mask, d.input(*shape), d.input(*shape))
    return d.model(d.node("Conv", chosen, d.random(8, shape[1], 3, 3), pads=[1] * 4))


def test_an_expansion_that_a_convolution_would_read_through_is_refused_with_its_bytes():
    options = CompileOptions(force_fuse=[("Where_1", "Conv_2")], workers=1)
    with pytest.raises(MlirfuseError, match=r"refuses one-to-many into many-to-many.* moves \d+ bytes, storing it \d+"):
        compile_here(masked_choice(), "simulator", options)


@pytest.mark.parametrize("target", ["simulator", "cpu"])
def test_two_anchors_are_one_kernel_only_if_layers_may_be_joined(target, kernels):
    first, second = (next(o for o in OPERATORS[MANY] if o.name == n) for n in ("convolution", "maximum pooling"))
    for a, b in itertools.product((first, second), repeat=2):
        pair = make_pair(a, b)
        with pytest.raises(MlirfuseError, match="would share a kernel"):
            options = CompileOptions(fusion="no-cross-layer", force_fuse=[pair.first + pair.second], workers=1)
            compile_here(pair.model, target, options)
        check(pair, target, kernels)
