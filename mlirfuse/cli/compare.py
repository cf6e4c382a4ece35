"""`mlirfuse explain --compare`: the plans of one network for several targets, side by side."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mlirfuse.cli import arguments
from mlirfuse.cli.display import Display, count
from mlirfuse.cli.model import model_of
from mlirfuse.errors import MlirfuseError

__all__ = ["compare_plans"]

_MOST = 40  # differences that are printed; all are in the JSON


def compare_plans(args: argparse.Namespace) -> int:
    from mlirfuse.explain import compare

    model = model_of(args.model)
    if model.kind == "artifact":
        raise MlirfuseError(f"{model.text} holds the plan for one target; give the model that it was compiled from.")
    if args.html:
        raise MlirfuseError("A page shows one plan: give --html without --compare.")
    plans = _plans(model, (args.target or arguments.DEFAULT_TARGET, *args.compare), arguments.compile_options(args))
    display, targets = Display(args.json), [plan.target for plan in plans]
    display.line(f"{plans[0].explanation.model} for {', '.join(targets)}", style="bold")
    for title, table in (
        ("what they have", compare.device_facts(plans)),
        ("the plans", compare.totals(plans)),
        ("groups by kernel", compare.kernels(plans)),
    ):
        display.table(["", *targets], [[name, *values] for name, values in table], title=title)
    _print_differences(display, targets, compare.differences(plans))
    display.result(compare.to_dict(plans))
    return 0


def _plans(model: Any, targets: Sequence[str], options: Any) -> list[Any]:
    from mlirfuse.cli.progress import step_progress
    from mlirfuse.compiler import explain
    from mlirfuse.device import planning_device
    from mlirfuse.explain.compare import Plan
    from mlirfuse.options import parse_target

    plans = []
    for target in map(parse_target, dict.fromkeys(targets)):
        with step_progress(f"planning {model.name} for {target}"):
            explanation = explain(model.source, str(target), options)
        plans.append(Plan(planning_device(explanation.device), explanation))
    return plans


def _print_differences(display: Display, targets: Sequence[str], found: Sequence[Any]) -> None:
    kinds = Counter(difference.states for difference in found)
    display.line(f"{count(len(found), 'edge')} fused for some and not for others", style="bold")
    if not found:
        return
    display.table(["edges", *targets], [[n, *states] for states, n in kinds.most_common()], left=targets)
    rows = [
        [" ".join(d.producer), " ".join(d.consumer), target, reason]
        for d in found[:_MOST]
        for target, reason in zip(targets, d.reasons, strict=True)
        if reason
    ]
    display.table(["from", "to", "not for", "because"], rows, left=("to", "not for", "because"))
    if len(found) > _MOST:
        display.line(f"and {len(found) - _MOST} more edges; --json has all of them")
