"""What a full run found: a table for people, `onnx_backend.md`, and for the tests each case that is not native,
`onnx_backend.json`, both beside this file.

python test/conformance/onnx_coverage.py [build/conformance]
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
from onnx_backend import Result, read_results
from onnx_cases import KINDS

__all__ = ["NOT_NATIVE", "STATUSES", "SUMMARY", "fell_back", "merged", "not_native", "summary"]

SUMMARY = Path(__file__).with_name("onnx_backend.md")
NOT_NATIVE = SUMMARY.with_suffix(".json")
STATUSES = ("native", "parameters", "fallback", "differs", "fail", "excluded")
LEGEND = """\
Every backend case of the onnx package: its model compiled, run on its inputs and compared with its outputs by its own
tolerances.

- *native*: every node became kernels, or was computed while compiling.
- *parameters*: the case gives shapes, axes or bounds at run time; with them as initializers it is native, and as given
  it passes with some nodes on the host.
- *fallback*: it passes with some nodes on the host.
- *differs*: ONNX Runtime runs the node on the host and reads the standard in another way than the case.
- *fail*: an error, or other outputs than expected.
- *excluded*: no network of numeric tensors.
"""


def summary(results: Mapping[str, Mapping[str, Result]]) -> str:
    """The table by category and target, and which operators run on the host and why."""
    lines = [f"# ONNX backend cases, onnx {onnx.__version__}", "", LEGEND]
    lines += [f"| target | category | cases | {' | '.join(STATUSES)} |", f"|---|---|{'---|' * (1 + len(STATUSES))}"]
    for target, found in results.items():
        for kind in KINDS:
            counts = Counter(r.status for r in found.values() if r.kind == kind)
            numbers = " | ".join(str(counts[status]) for status in STATUSES)
            lines.append(f"| {target} | {kind} | {counts.total()} | {numbers} |")
    last = next(reversed(results.values()))
    lines += ["", "## Why cases are excluded", "", *_by_reason(last, "excluded")]
    lines += ["", "## What runs on the host", "", "| operator | cases | reason |", "|---|---|---|"]
    lines += _by_operator(last)
    for status, title in (("differs", "What differs"), ("fail", "What fails")):
        rows = [
            f"- `{r.name}` ({target}): {r.reason}"
            for target, found in results.items()
            for r in found.values()
            if r.status == status
        ]
        if rows:
            lines += ["", f"## {title}", "", *rows]
    return "\n".join(lines) + "\n"


def _by_reason(found: Mapping[str, Result], status: str) -> list[str]:
    counts = Counter(r.reason for r in found.values() if r.status == status)
    return [f"- {count} {reason}" for reason, count in counts.most_common()]


def _by_operator(found: Mapping[str, Result]) -> list[str]:
    """A row for each operator that runs on the host, with the most frequent reason."""
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for r in found.values():
        if r.status == "fallback":
            for part in r.reason.split("; "):
                operator, _, reason = part.partition(": ")
                reasons[operator][reason] += 1
    return [
        f"| {operator} | {counts.total()} | {counts.most_common(1)[0][0]} |"
        for operator, counts in sorted(reasons.items())
    ]


def merged(folder: Path) -> dict[str, dict[str, Result]]:
    """The results of all shards by target and name."""
    found: dict[str, dict[str, Result]] = {}
    for path in sorted(folder.glob("*-*.jsonl")):
        found.setdefault(path.stem.rpartition("-")[0], {}).update(read_results(path))
    return found


def not_native(results: Mapping[str, Mapping[str, Result]]) -> dict[str, str]:
    """The worst status of each case that is not native on every target, by name."""
    worst: dict[str, str] = {}
    for found in results.values():
        for r in found.values():
            if STATUSES.index(r.status) > STATUSES.index(worst.get(r.name, "native")):
                worst[r.name] = r.status
    return dict(sorted(worst.items()))


def fell_back(results: Iterable[Result]) -> list[Result]:
    """Those that do worse than `onnx_backend.json` says."""
    committed = json.loads(NOT_NATIVE.read_text())
    return [r for r in results if STATUSES.index(r.status) > STATUSES.index(committed.get(r.name, "native"))]


def main(folder: Path) -> None:
    """Write both files from the shards in `folder`."""
    results = merged(folder)
    SUMMARY.write_text(summary(results))
    NOT_NATIVE.write_text(json.dumps(not_native(results), indent=0) + "\n")


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["build/conformance"]))
