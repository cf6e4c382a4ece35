"""One network planned for several devices: what differs is told with its reason, and follows from facts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from mlirfuse import zoo
from mlirfuse.cli.main import main
from mlirfuse.compiler import explain_here
from mlirfuse.device import planning_device
from mlirfuse.explain.compare import FUSED, Plan, differences, kernels, to_dict
from mlirfuse.explain.facts import Edge
from mlirfuse.options import CompileOptions

TARGETS = ("cuda:h200", "vulkan:intel-xe-lp", "vulkan:mali-g710")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "lenet5.onnx"
    onnx.save(zoo.build("lenet5"), path)
    return str(path)


@pytest.fixture(scope="module")
def plans(model: str) -> list[Plan]:
    explanations = [explain_here(model, target, CompileOptions()) for target in TARGETS]
    return [Plan(planning_device(explanation.device), explanation) for explanation in explanations]


def test_the_plans_are_those_that_explain_gives_alone(plans: list[Plan], model: str, tmp_path: Path) -> None:
    path = tmp_path / "compared.json"
    others = ",".join(TARGETS[1:])
    assert main(["explain", model, "--target", TARGETS[0], "--compare", others, "--json", str(path)]) == 0
    data: dict[str, Any] = json.loads(path.read_text())
    assert data["targets"] == list(TARGETS)
    assert data["plans"] == json.loads(json.dumps(to_dict(plans)["plans"]))
    assert data["devices"]["device"] == {plan.target: plan.device.name for plan in plans}


def test_a_faster_device_takes_less_time(plans: list[Plan]) -> None:
    seconds = [plan.explanation.totals.seconds for plan in plans]
    assert seconds == sorted(seconds) and len(set(seconds)) == 3


def test_every_group_is_counted_once_for_each_plan(plans: list[Plan]) -> None:
    table = kernels(plans)
    for i, plan in enumerate(plans):
        assert sum(counts[i] or 0 for _, counts in table) == len(plan.explanation.groups)


def test_every_difference_is_a_fused_edge_with_a_reason_where_it_is_not(plans: list[Plan]) -> None:
    """Of each plan, what is said of an edge is what the plan says."""
    for difference in differences(plans):
        assert FUSED in difference.states and len(set(difference.states)) > 1
        ends = (difference.producer, difference.consumer)
        for plan, state, reason in zip(plans, difference.states, difference.reasons, strict=True):
            joined = {(e.producer, e.consumer) for e in plan.explanation.joined}
            apart = {(e.producer, e.consumer): (e.kind, e.reason) for e in plan.explanation.edges}
            if state == FUSED:
                assert reason == "" and ends in joined
            elif ends in apart:
                assert (state, reason) == apart[ends] and reason


def test_equal_plans_do_not_differ_and_a_cut_edge_is_found(plans: list[Plan]) -> None:
    assert differences([plans[0], plans[0]]) == []
    whole = plans[0].explanation
    cut = next(e for e in whole.joined if e.producer != e.consumer)
    edge = Edge(cut.producer, cut.consumer, cut.producer_number, cut.consumer_number, "cost", "it costs more")
    others = tuple(e for e in whole.joined if (e.producer, e.consumer) != (cut.producer, cut.consumer))
    changed = replace(plans[0], explanation=replace(whole, joined=others, edges=(*whole.edges, edge)))
    [found] = differences([plans[0], changed])
    assert (found.producer, found.consumer) == (cut.producer, cut.consumer)
    assert (found.states, found.reasons) == ((FUSED, "cost"), ("", "it costs more"))


@pytest.mark.parametrize(
    ("more", "said"), [(["--html", "x.html"], "shows one plan"), (["--compare", "toaster"], "no target 'toaster'")]
)
def test_what_cannot_be_compared_is_refused(more: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "zoo:lenet5", "--compare", "vulkan", *more]) == 1
    assert said in capfd.readouterr().err
