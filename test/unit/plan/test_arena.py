"""No two buffers in use at the same time share bytes, and the checker would see it if they did."""

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlirfuse.lowering.passes import PassPipeline
from mlirfuse.lowering.plan.buffers import Place, place_of, read_places, read_program, write_places
from mlirfuse.lowering.plan.check_arena import check_arena
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.lowering.plan.memory import ALIGNMENT, Buffer, may_coexist, plan_arena
from mlirfuse.mlir import context, ir

CONCAT = "operandSegmentSizes = array<i32: 1, 1" + ", 0" * 30 + ">"
PARTS = f"""
func.func @main(%x: tensor<2x64xf32>, %y: tensor<2x32xf32>) -> (tensor<2x96xf32>, tensor<2x64xf32>) {{
  %a = "fusion.unary"(%x) {{kind = "exp"}} : (tensor<2x64xf32>) -> tensor<2x64xf32>
  %b = "fusion.unary"(%y) {{kind = "sqrt"}} : (tensor<2x32xf32>) -> tensor<2x32xf32>
  %c = "fusion.concat"(%a, %b) {{axis = 1 : i64, elided = true, {CONCAT}}}
    : (tensor<2x64xf32>, tensor<2x32xf32>) -> tensor<2x96xf32>
  %d = "fusion.unary"(%c) {{kind = "neg"}} : (tensor<2x96xf32>) -> tensor<2x96xf32>
  %e = "fusion.unary"(%d) {{kind = "abs"}} : (tensor<2x96xf32>) -> tensor<2x96xf32>
  %f = "fusion.unary"(%a) {{kind = "neg"}} : (tensor<2x64xf32>) -> tensor<2x64xf32>
  return %e, %f : tensor<2x96xf32>, tensor<2x64xf32>
}}
"""


@pytest.fixture
def planned():
    with context():
        module = ir.Module.parse(PARTS)
        PassPipeline.of(["fusion-form-groups", "fusion-assign-buffers"]).run(module)
        yield main_function(module.operation)


buffers = st.lists(
    st.builds(
        lambda size, first, length: Buffer(size, (first,), (first + length,)),
        st.integers(0, 5000),
        st.integers(0, 20),
        st.integers(0, 8),
    ),
    max_size=20,
)


@given(buffers)
@settings(deadline=None)
def test_buffers_in_use_together_are_apart(some):
    arena = plan_arena(some)
    for (a, at), (b, bt) in itertools.combinations(zip(some, arena.offsets, strict=True), 2):
        if may_coexist(a, b) and a.bytes and b.bytes:
            assert at + a.bytes <= bt or bt + b.bytes <= at
    assert all(offset % ALIGNMENT == 0 for offset in arena.offsets)
    assert all(o + b.bytes <= arena.bytes for o, b in zip(arena.offsets, some, strict=True))
    alive = [sum(-(-b.bytes // ALIGNMENT) * ALIGNMENT for b in some if b.first <= t <= b.last) for t in range(30)]
    assert arena.bytes >= max(alive)  # no plan can be smaller


def test_a_chain_takes_two_buffers():
    chain = [Buffer(1024, (i,), (i + 1,)) for i in range(10)]
    assert plan_arena(chain).bytes == 2048


def test_best_fit_fills_the_smallest_gap():
    some = [Buffer(4096, (0,), (1,)), Buffer(2048, (0,), (9,)), Buffer(1024, (2,), (3,)), Buffer(512, (0,), (9,))]
    arena = plan_arena(some)
    assert arena.bytes == 4096 + 2048 + 512
    assert arena.offsets[2] == 0


def test_parts_are_views_and_the_checker_agrees(planned):
    assert check_arena(planned) == []
    by_op = {op.operation: op.operation for op in planned.regions[0].blocks[0]}
    concat = next(op for op in by_op if op.name == "fusion.concat")
    whole = place_of(concat.results[0])
    a, b = (place_of(v) for v in concat.operands)
    assert whole.strides == a.strides == b.strides == (96, 1)
    assert (a.offset, b.offset) == (whole.offset, whole.offset + 64 * 4)


def test_places_survive_the_ir(planned):
    places = read_places(planned)
    assert Place.from_attribute(places[0].to_attribute()) == places[0]
    assert [p.output for p in places if p.output is not None] == [0, 1]


@pytest.mark.parametrize("in_parallel", [False, True])
def test_the_checker_notices_every_overlap(planned, in_parallel):
    """Move each value of the arena onto each other one."""
    program, places = read_program(planned), read_places(planned)
    inner = [n for n, p in enumerate(places) if p.output is None and program.values[n].whole is None]
    assert len(inner) >= 2
    for moved, target in itertools.permutations(inner, 2):
        wrong = list(places)
        wrong[moved] = dataclasses.replace(places[moved], offset=places[target].offset)
        write_places(planned, program, wrong)
        assert check_arena(planned, in_parallel)
    write_places(planned, program, places)
    assert check_arena(planned) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"offset": 4}, "not the part|no multiple of|share bytes"),
        ({"bytes": 1}, "bytes, but its place"),
        ({"strides": (1, 2)}, "strides|not the part"),
        ({"output": 1}, "lies in output"),
        ({"offset": 1 << 20}, "ends after|not the part"),
    ],
)
def test_the_checker_notices_wrong_places(planned, change, complaint):
    import re

    program, places = read_program(planned), read_places(planned)
    for n in range(len(places)):
        if places[n].output is not None:
            continue
        wrong = list(places)
        wrong[n] = dataclasses.replace(places[n], **change)
        write_places(planned, program, wrong)
        found = check_arena(planned)
        assert found and re.search(complaint, "\n".join(found)), (n, found)
