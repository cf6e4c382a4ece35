"""The plans of one network for a discrete GPU and two integrated ones, side by side, as docs/devices.md shows them.

    python benchmarks/plans.py            # print the tables
    python benchmarks/plans.py --readme   # write them into docs/devices.md

Planned, not run: times are those of the cost model. The same command line tool gives the whole comparison
(`mlirfuse explain zoo:light/resnet50 --target cuda:h200 --compare vulkan:intel-xe-lp,vulkan:mali-g710`).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measured import markdown_row, write_block

from mlirfuse import zoo
from mlirfuse.compiler import explain
from mlirfuse.device import planning_device
from mlirfuse.explain.compare import FUSED, Difference, Plan, device_facts, differences, kernels, totals
from mlirfuse.options import CompileOptions

PAGE = Path(__file__).parent.parent / "docs" / "devices.md"
NETWORK = "light/resnet50"
TARGETS = ("cuda:h200", "vulkan:intel-xe-lp", "vulkan:mali-g710")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readme", action="store_true", help="write the tables into docs/devices.md")
    args = parser.parse_args(argv)
    text = page([plan_for(target) for target in TARGETS])
    if args.readme:
        write_block(PAGE, "plans.py", text)
    else:
        print(text)
    return 0


def plan_for(target: str) -> Plan:
    explanation = explain(zoo.build(NETWORK), target, CompileOptions())
    return Plan(planning_device(explanation.device), explanation)


def page(plans: Sequence[Plan]) -> str:
    """The tables as Markdown."""
    found = differences(plans)
    parts = [
        "What the devices have:",
        _table("", device_facts(plans), plans),
        "The plans:",
        _table("", totals(plans), plans),
        "Groups by the kernel that they have, with its tile:",
        _table("kernel", kernels(plans), plans),
        f"{len(found)} edges are fused for some of them and not for others. Of these, by what decided:",
        _states(found, plans),
        "Why, of each, as the planner says:",
        _reasons(found, plans),
    ]
    return "\n\n".join(parts)


def _table(corner: str, rows: Sequence[tuple[str, list[Any]]], plans: Sequence[Plan]) -> str:
    lines = [markdown_row([corner, *(plan.target for plan in plans)]), markdown_row(["---", *["--:"] * len(plans)])]
    lines += [markdown_row([name, *("" if value is None else value for value in values)]) for name, values in rows]
    return "\n".join(lines)


def _states(found: Sequence[Difference], plans: Sequence[Plan]) -> str:
    counts = Counter(difference.states for difference in found)
    lines = [markdown_row(["edges", *(plan.target for plan in plans)]), markdown_row(["--:", *["---"] * len(plans)])]
    return "\n".join([*lines, *(markdown_row([n, *states]) for states, n in counts.most_common())])


def _reasons(found: Sequence[Difference], plans: Sequence[Plan]) -> str:
    lines = [markdown_row(["edge", "fused for", "not for", "because"]), markdown_row(["---"] * 4)]
    for difference in found:
        edge = f"{' '.join(difference.producer)} → {' '.join(difference.consumer)}"
        fused = ", ".join(p.target for p, state in zip(plans, difference.states, strict=True) if state == FUSED)
        for plan, reason in zip(plans, difference.reasons, strict=True):
            if reason:
                lines.append(markdown_row([edge, fused, plan.target, reason]))
                edge = fused = ""
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
