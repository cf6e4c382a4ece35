"""Which stages a group is cut into, what is kept between them, and which groups have none."""

import pytest
from block_groups import BLOCKS
from group_builder import GroupBuilder

from mlirfuse.dialect.indexing import Var
from mlirfuse.dialect.node import out_variables
from mlirfuse.lowering.groups.forward import landings, same_place
from mlirfuse.lowering.groups.stages import stages_of

# Ops of the stages' roots in order, and how many values are kept between them.
SHAPES = {
    "fire": ("conv conv conv", 1),
    "fire with bypass": ("conv conv conv window", 2),
    "inception": ("conv conv conv conv conv window conv", 3),
    "split outputs": ("conv conv conv window conv", 2),
    "basic residual": ("conv conv", 1),
    "projected residual": ("conv conv conv", 2),
    "bottleneck": ("conv conv conv", 2),
    "separable": ("conv conv conv conv", 3),
    "inverted residual": ("conv conv conv", 2),
    "dense layer": ("conv conv concat", 2),
    "shuffle unit": ("conv conv conv", 2),
    "strided shuffle unit": ("conv conv conv window", 2),
    "convs and pool": ("conv conv window", 2),
    "squeeze and excitation": ("conv reduce conv conv binary", 4),
    "up and concat": ("conv conv conv", 2),
    "transposed and concat": ("conv conv conv", 2),
    "kept output": ("conv conv", 1),
    "classifier": ("conv reduce contract", 2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_stages_of_blocks(name):
    stages = stages_of(BLOCKS[name]()[0])
    assert (" ".join(s.root.node.op for s in stages), len(stages.kept)) == SHAPES[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_a_stage_is_a_group_of_its_own(name):
    """Its root is its only anchor, its values have the numbers and types that they have in the whole group."""
    stages = stages_of(BLOCKS[name]()[0])
    for stage in stages:
        assert {m.result for m in stage.group.anchors} <= {stage.root.result}
        assert stage.group.types is stages.group.types
        available = {*stages.group.inputs, *stages.kept}
        read = {r.value for r in (*stage.root_reads, *stage.epilogue_reads)}
        assert read <= available & set(stage.group.inputs)
        assert all(stages.lifetimes[v][0] < stage.number for v in read & set(stages.kept))


@pytest.mark.parametrize("name", BLOCKS)
def test_emitters_find_the_landings_of_a_stage(name):
    """What single kernels ask about an anchor's epilogue is true of the stage's own group too."""
    for stage in stages_of(BLOCKS[name]()[0]):
        index = out_variables(stage.root.node.out.dims)
        found = landings(stage.group, stage.root, index)
        assert not isinstance(found, str), found
        for v in stage.group.outputs:
            assert found[v].one_to_one and same_place(found[v].index, stage.landing[v])


@pytest.mark.parametrize("name", BLOCKS)
def test_every_kept_value_is_written_before_it_is_read(name):
    stages = stages_of(BLOCKS[name]()[0])
    for v in stages.kept:
        assert max(s.number for s in stages.writers(v)) < min(s.number for s in stages.readers(v))


def test_a_concatenation_is_stored_by_the_stages_that_compute_its_parts():
    stages = stages_of(BLOCKS["fire"]()[0])
    (output,) = stages.group.outputs
    assert [s.number for s in stages.writers(output)] == [1, 2] == [s.number for s in stages.sinks]
    d = [Var(f"d{i}", 0, size - 1) for i, size in enumerate((1, 4, 9, 9))]
    assert [s.landing[output][1].evaluate(dict.fromkeys(d, 1)) for s in stages.sinks] == [1, 5]


def test_the_later_operand_of_a_sum_adds_it_as_it_is_stored():
    b = GroupBuilder()
    x = b.input(1, 2, 5, 5)
    one, two = (b.conv(x, b.input(2, 2, 1, 1)) for _ in range(2))
    stages = stages_of(b.group(b.op("binary", one, two, kind="add")))
    assert stages.kept == (one,)
    assert [r.value for r in stages.stages[1].epilogue_reads] == [one]


def test_an_activation_between_is_stored_once_and_not_computed_where_it_is_read():
    b = GroupBuilder()
    y = b.op("unary", b.conv(b.input(1, 2, 5, 5), b.input(2, 2, 1, 1)), kind="relu")
    z = b.conv(y, b.input(2, 2, 3, 3), pads=(1,) * 4)
    assert stages_of(b.group(z)).kept == (y,)


def test_what_is_no_epilogue_is_computed_where_it_is_read():
    """A slice of what a convolution gives has no place for the others: the next reads through it."""
    b = GroupBuilder()
    y = b.conv(b.input(1, 2, 5, 5), b.input(6, 2, 1, 1))
    part = b.op("slice", y, starts=(0, 2, 0, 0), sizes=(1, 3, 5, 5), steps=(1,) * 4)
    stages = stages_of(b.group(b.conv(part, b.input(2, 3, 3, 3), pads=(1,) * 4)))
    assert len(stages) == 2 and stages.kept == (y,)


# --- groups without stages ----------------------------------------------------------------------------


def test_softmax_has_no_stage():
    b = GroupBuilder()
    y = b.op("softmax", b.conv(b.input(1, 2, 5, 5), b.input(4, 2, 1, 1)), axes=(1,), log=False)
    assert stages_of(b.group(y)) == "fusion.softmax has no stage that works on a box"


def test_other_element_types_have_no_stage():
    b = GroupBuilder()
    y = b.conv(b.input(1, 2, 5, 5, dtype="float64"), b.input(4, 2, 1, 1, dtype="float64"))
    assert "computes in single precision" in stages_of(b.group(y))


def test_an_output_that_no_stage_computes():
    b = GroupBuilder()
    x = b.input(1, 2, 5, 5)
    assert "an output is an operand" in stages_of(b.group(b.conv(x, b.input(2, 2, 1, 1)), x))


def test_a_result_that_is_not_used():
    b = GroupBuilder()
    x = b.input(1, 2, 5, 5)
    b.conv(x, b.input(2, 2, 1, 1))
    assert "nothing reads the result of fusion.conv" in stages_of(b.group(b.conv(x, b.input(2, 2, 1, 1))))


def test_a_result_of_which_only_padding_is_read():
    b = GroupBuilder()
    y = b.conv(b.input(1, 1, 2, 2), b.input(1, 1, 1, 1))
    z = b.conv(y, b.input(1, 1, 2, 1), strides=(3, 1), pads=(2, 0, 0, 0))
    assert "nothing reads the result of fusion.conv" in stages_of(b.group(z))
