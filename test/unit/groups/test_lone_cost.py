"""The cost of kernels of one op, whatever the rank of its result."""

import pytest
from group_builder import GroupBuilder

from mlirfuse.device import device_for, host_device
from mlirfuse.lowering.groups.cost import lone_cost
from mlirfuse.lowering.groups.launch_cost import launch_seconds

DEVICES = {"gpu": device_for("h200"), "cpu": host_device()}


def product(a, b, equation):
    g = GroupBuilder()
    return g.group(g.op("contract", g.input(*a), g.input(*b), equation=equation)).members[0].node


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("a", "b", "equation"),
    [((300,), (300,), "a,a->"), ((64, 300), (300,), "ab,b->a"), ((64, 300), (64, 300), "ab,cb->ac")],
    ids=["scalar", "vector", "matrix"],
)
def test_every_product_has_a_cost(device, a, b, equation):
    node = product(a, b, equation)
    cost = lone_cost(node, 4 * sum(t.size for t in (*node.inputs, node.out)), DEVICES[device])
    assert 0 < cost.seconds < 1e-3
    assert (cost.stages[0].how == "contract") == (node.out.rank == 2)


@pytest.mark.parametrize("device", DEVICES)
def test_a_chain_takes_longer_than_its_first_product_and_less_than_two_launches(device):
    g = GroupBuilder()
    x = g.op("contract", g.input(8, 120), g.input(120, 84), equation="ab,bc->ac")
    group = g.group(g.op("contract", x, g.input(84, 10), equation="ab,bc->ac"))
    first, second = (lone_cost(a.node, 8 * 1024, DEVICES[device]).seconds for a in group.anchors)
    assert first < launch_seconds(group, 16 * 1024, DEVICES[device]) < first + second
