"""Several anchors in one CPU kernel, what is between them in scratch."""

import dataclasses

import pytest
from attention_groups import CASES, attention, grouped_queries, prologue_and_moves
from cpu_cases import DEVICE, Case
from group_builder import GroupBuilder

from mlirfuse.lowering.schedule.deep import DeepPlan
from mlirfuse.lowering.schedule.host import host_schedule_from_dict, host_schedule_to_dict
from mlirfuse.lowering.schedule.host_contract import ContractTiles
from mlirfuse.lowering.schedule.host_deep import DeepLoops, schedule_stages

GROUPS = {name.replace(" ", "_"): attention(**options) for name, options in CASES.items()}
GROUPS |= {"prologue_and_moves": prologue_and_moves(), "grouped_queries": grouped_queries()}


def normalized_rows():
    b = GroupBuilder()
    x = b.op("contract", b.input(2, 33, 8), b.input(2, 8, 24), equation="amk,akn->amn")
    x = b.op("normalize", b.op("unary", x, kind="relu"), axes=(2,), epsilon=1e-5)
    return b.group(b.op("contract", x, b.input(2, 24, 12), equation="amk,akn->amn"))


def recut(case, rows, order, part=0):
    """The schedule with other rows and parts, and with the boxes between stages in another order."""
    orders = tuple(order for _ in case.schedule.orders)
    stages = schedule_stages(DeepPlan(case.group, rows, part), orders, DEVICE)[1]
    return Case(case.group, DeepLoops(rows, orders, stages, part))


def cases():
    found = {name: Case(group) for name, group in GROUPS.items()}
    found["normalized_rows"] = Case(normalized_rows())
    for name, rows in (("odd_sizes", 16), ("mask_of_rows_and_keys", 12), ("more_rows_than_a_tile", 9)):
        found[f"{name}_turned"] = recut(found[name], rows, (0, 1, 3, 2))
    for name, rows, part in (("plain", 8, 4), ("keys_before_depth", 16, 5), ("more_rows_than_a_tile", 24, 20)):
        found[f"{name}_in_parts"] = recut(found[name], rows, (0, 1, 2, 3), part)
    found["mask_of_every_score_in_parts"] = recut(found["mask_of_every_score"], 16, (0, 1, 3, 2), 8)
    return found


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_attention_agrees_with_the_definition(name, entries):
    assert isinstance(CASES[name].schedule, DeepLoops)
    assert CASES[name].run(entries[name]) < 3e-6


def test_both_products_are_register_tiles():
    schedule = Case(attention(heads=12, rows=384, keys=384, depth=64, width=64)).schedule
    assert [isinstance(s, ContractTiles) for s in schedule.stages] == [True, False, True]
    assert [s.weights for s in (schedule.stages[0], schedule.stages[2])] == ["direct", "direct"]


def test_rows_too_long_for_the_cache_are_walked_in_parts():
    schedule = Case(attention(heads=2, rows=256, keys=16384, depth=64, width=64)).schedule
    assert schedule.part
    assert schedule.rows >= 32


def test_schedules_survive_attributes():
    schedule = CASES["odd_sizes"].schedule
    assert host_schedule_from_dict(host_schedule_to_dict(schedule)) == schedule


def test_illegal_schedules_say_why():
    group, schedule = CASES["odd_sizes"].group, CASES["odd_sizes"].schedule
    assert "stages" in dataclasses.replace(schedule, stages=schedule.stages[:2]).why_illegal(group, DEVICE)
    assert "stage 0" in dataclasses.replace(schedule, rows=1).why_illegal(group, DEVICE)
    assert "do not divide" in dataclasses.replace(schedule, part=7).why_illegal(group, DEVICE)
    assert "2 uses" in schedule.why_illegal(_two_uses(), DEVICE)


def _two_uses():
    b = GroupBuilder()
    x = b.op("contract", b.input(1, 2, 8, 4), b.input(1, 2, 4, 8), equation="abmk,abkn->abmn")
    p = b.op("binary", b.op("softmax", x, axes=(3,), log=False), x, kind="mul")
    return b.group(b.op("contract", p, b.input(1, 2, 8, 4), equation="abmk,abkn->abmn"))
