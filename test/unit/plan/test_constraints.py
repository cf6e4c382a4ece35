"""What a device has for one kernel bounds what shares one: registers, shared memory, threads."""

from dataclasses import replace

import pytest
from plan_graphs import DEVICES, GraphBuilder, check_plan, image, vector
from test_chains import attention
from test_planned_networks import LAUNCHES, frozen

from mlirfuse import device as device_module
from mlirfuse.device import device_for, lookup, planning_device
from mlirfuse.dialect import TensorType
from mlirfuse.lowering.passes import PassPipeline
from mlirfuse.lowering.plan import constraints
from mlirfuse.lowering.plan.constraints import ResourceConstraints
from mlirfuse.lowering.plan.plan_options import PlanOptions
from mlirfuse.lowering.plan.planner import plan_graph
from mlirfuse.lowering.schedule.simt import ContractTiles
from mlirfuse.mlir import context, ir

LARGE = device_for("sm_90")
CHAIN = """
func.func @main(%x: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %y = "fusion.unary"(%x) {kind = "relu"} : (tensor<8x8xf32>) -> tensor<8x8xf32>
  %z = "fusion.unary"(%y) {kind = "abs"} : (tensor<8x8xf32>) -> tensor<8x8xf32>
  return %z : tensor<8x8xf32>
}
"""


def planned(builder, device):
    """The blocks for a device, and the verdicts on its resources."""
    graph = builder.graph()
    plan = plan_graph(graph, device=device)
    return check_plan(graph, plan), [v for _, _, v in plan.verdicts if v.kind == "resources"]


def many_alive(count=12):
    """Values that are all alive until they are added up in pairs."""
    g = GraphBuilder()
    return added_up(g, g.unary("relu", image()), count)


def many_after(count):
    """The same after a convolution."""
    g = GraphBuilder()
    return added_up(g, g.conv(image(64)), count)


def added_up(g, x, count):
    made = [g.unary(("abs", "neg", "ceil", "floor")[i % 4], g.unary("sign", x)) for i in range(count)]
    while len(made) > 1:
        made = [g.binary("add", made[i], made[-1 - i]) for i in range(len(made) // 2)] + made[
            len(made) // 2 : -(len(made) // 2)
        ]
    return g


def with_residual():
    """A convolution and the addition of an image as large."""
    g = GraphBuilder()
    g.binary("add", g.conv(image(64), name="Conv"), image(64), name="Add")
    return g


def test_a_plan_for_the_host_asks_nothing_of_this_machine(monkeypatch):
    def refuse(*_):
        raise AssertionError("the plan asked for this machine's facts")

    monkeypatch.setattr(lookup, "host_device", refuse)
    monkeypatch.setattr(device_module, "host_device", refuse)
    with context():
        module = ir.Module.parse(CHAIN)
        for passes in ("fusion-join-siblings", "fusion-plan"):
            PassPipeline.of((passes,)).run(module)
        assert "plan = 0" in str(module)


def test_few_registers_cut_what_keeps_many_values_alive():
    assert len(planned(many_alive(), LARGE)[0]) == 1
    blocks, verdicts = planned(many_alive(), replace(LARGE, name="tiny", registers_per_thread=16))
    assert len(blocks) > 1
    for verdict in verdicts:
        assert verdict.numbers["registers"] > verdict.numbers["limit"] == 16
        assert "registers, and tiny has 16" in verdict.reason
    assert verdicts
    graph = many_alive().graph()
    small = ResourceConstraints(graph, replace(LARGE, registers_per_thread=16))
    assert all(small.needs(block).registers <= 16 for block in blocks)


def test_registers_of_a_chain_of_operations_do_not_grow_with_its_length():
    g = GraphBuilder()
    x = g.unary("relu", image())
    for _ in range(20):
        x = g.unary("neg", g.unary("abs", x))
    small = replace(LARGE, registers_per_thread=16)
    assert planned(g, small) == ([tuple(range(41))], [])
    limits_of_tiny = ResourceConstraints(g.graph(), small)
    assert limits_of_tiny.needs(range(41)) == limits_of_tiny.needs(range(2))


def test_little_shared_memory_keeps_a_large_operand_out():
    """A register tile without its result takes 4 KiB; the addition would bring the result to them."""
    assert planned(with_residual(), LARGE) == ([(0, 1)], [])
    blocks, [verdict] = planned(with_residual(), replace(LARGE, shared_bytes_per_block=6 * 1024))
    assert blocks == [(0,), (1,)]
    assert (verdict.producer, verdict.consumer) == (("Conv",), ("Add",))
    numbers = verdict.numbers
    assert (numbers["shared_bytes"], numbers["limit"], numbers["apart"]) == (8192, 6144, 4096)


def test_a_device_without_room_for_a_tile_computes_points():
    """There the anchor is no faster alone: nothing is gained by keeping others out."""
    for changes in ({"shared_bytes_per_block": 2048}, {"registers_per_thread": 48}, {"max_threads_per_block": 32}):
        assert planned(with_residual(), replace(LARGE, **changes)) == ([(0, 1)], [])


def test_what_an_anchor_reads_and_what_follows_it_are_not_alive_together():
    g = GraphBuilder()
    x = g.binary("mul", g.binary("add", image(), vector()), vector())
    c = g.conv(x, 8, kernel=1)
    g.binary("mul", g.binary("add", c, vector()), vector())
    needs = ResourceConstraints(g.graph(), replace(LARGE, shared_bytes_per_block=1024))  # no room for a tile
    assert needs.needs({0, 1, c}) == needs.needs(range(5))
    assert needs.needs({c}).registers < needs.needs(range(5)).registers


def test_what_follows_a_tile_takes_the_registers_of_its_operands():
    """64 registers hold the smallest tile, with few values after it and not with many."""
    device = replace(LARGE, registers_per_thread=constraints.TILE_REGISTERS)
    few = GraphBuilder()
    few.binary("mul", few.binary("add", few.conv(image(64)), vector(64)), vector(64))
    assert planned(few, device) == ([(0, 1, 2)], [])
    room = constraints.TILE_FETCHED + constraints.TILE_OPERANDS
    blocks, verdicts = planned(many_after(2 * room), device)
    assert len(blocks) > 1
    assert all(v.numbers["registers"] > v.numbers["limit"] == constraints.TILE_REGISTERS for v in verdicts)


def test_half_the_width_does_not_halve_registers_and_doubles_take_two():
    needs = []
    for dtype in ("float16", "float32", "float64"):
        g = GraphBuilder()
        g.binary("add", TensorType((8, 8), dtype), TensorType((8, 8), dtype))
        needs.append(ResourceConstraints(g.graph(), LARGE).needs((0,)).registers)
    assert needs[0] == needs[1] == needs[2] - 3


def test_the_smallest_tile_is_one_that_schedules_know():
    """The plan's numbers are those of the schedule that it stands for."""
    g = GraphBuilder()
    g.conv(image(64))
    needs = ResourceConstraints(g.graph(), LARGE).needs((0,))
    tile, step = constraints.TILE, constraints.THREAD_TILE
    tiles = ContractTiles(tile, tile, constraints.SLICE, step, step)
    assert needs.threads == tiles.threads
    assert needs.registers == tiles.least_registers == constraints.TILE_REGISTERS
    result = ResourceConstraints(with_residual().graph(), LARGE).needs((0, 1)).shared_bytes - needs.shared_bytes
    assert result == 4 * tiles.block_m * tiles.block_n
    assert needs.shared_bytes == 4 * 2 * tiles.block_k * (tiles.block_m + tiles.block_n)


@pytest.mark.parametrize("name", DEVICES)
def test_a_chain_is_formed_where_the_device_holds_its_tiles_unless_it_costs_more(name):
    graph = attention().graph()
    plan = plan_graph(graph, device=planning_device(name))
    kinds = {verdict.kind for _, _, verdict in plan.verdicts}
    assert kinds == set() if len(plan.blocks) == 1 else "cost" in kinds
    assert "resources" not in kinds


def test_a_chain_needs_registers_for_its_tiles():
    blocks, verdicts = planned(attention(), replace(LARGE, registers_per_thread=48))
    assert len(blocks) > 1
    assert {(v.numbers["registers"], v.numbers["limit"]) for v in verdicts} == {(constraints.TILE_REGISTERS, 48)}


def test_long_rows_fit_where_there_is_more_shared_memory():
    builder = attention(rows=64, keys=13001, heads=16)  # a prime: no parts
    _, proofs = planned(builder, LARGE)
    assert proofs == []
    _, verdicts = planned(builder, device_for("titan-xp"))
    assert {v.numbers["limit"] for v in verdicts} == {48 * 1024}
    assert all(v.numbers["shared_bytes"] > 48 * 1024 for v in verdicts)


@pytest.mark.parametrize("network", [*(f"light/{name}" for name in LAUNCHES), "tinybert-s128-fine"])
def test_no_device_of_the_tables_refuses_what_has_room(network):
    """On every device the groups of a network are the same, but for chains that the device cannot hold in tiles."""
    graph = frozen(network)
    options = PlanOptions(fusion="no-cross-layer")
    unbounded = plan_graph(graph, options)
    for name in DEVICES:
        device = planning_device(name)
        plan = plan_graph(graph, options, device=device)
        refused = [v for _, _, v in plan.verdicts if v.kind == "resources"]
        assert refused == []
        assert plan.blocks == unbounded.blocks
