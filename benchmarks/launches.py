"""Launches of one inference: by the report, counted again in the kernels stage, and beside other compilers.

    python benchmarks/launches.py [--networks squeezenet,resnet50] [--targets cpu,cuda]
    python benchmarks/launches.py --readme     # only write the table into README.md from the results

The other compilers' counts are data (launches_of_others.json), measured once with the versions that it names.
Exit status 1 if the two ways of counting disagree. Results go to results/launches.json.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arguments import NAMES, parser_for
from measured import LIGHT_NETWORKS, README, Measured, markdown_row, write_block

from mlirfuse import zoo
from mlirfuse.cli.race import geometric_mean
from mlirfuse.compiler import compile_artifact, emit
from mlirfuse.options import CompileOptions

OTHERS = Path(__file__).parent / "launches_of_others.json"
# What the host program does, as the kernels stage writes it: GPU launches, CPU parallel loops, nodes on the host.
STEP = re.compile(r"\bgpu\.launch_func\b|\bscf\.forall\b|\"fusion\.host_call\"")


def main(argv: Sequence[str] | None = None) -> int:
    parser = parser_for(__doc__, "launches.json", LIGHT_NETWORKS, page="README.md", force=False)
    parser.add_argument("--targets", default=("cuda", "cpu"), **NAMES)
    args = parser.parse_args(argv)
    others = json.loads(OTHERS.read_text())["networks"]
    results = Measured(args.results, {})
    if args.readme:
        write_block(README, "launches.py", table(results.entries, others))
        return 0
    disagreements = 0
    for target in args.targets:
        print(
            f"\n{target + ':':14}{'nodes':>7}{'launches':>10}{'counted':>9}{'kernels':>9}{'best other':>12}{'ratio':>7}"
        )
        ratios = []
        for network in args.networks:
            entry = count(network, target)
            results.put(f"{network} {target}", entry)
            disagreements += entry["launches"] != entry["counted"]
            best = others[network]["best"]
            ratios.append(entry["launches"] / best)
            ours = f"{entry['launches']:>10}{entry['counted']:>9}{entry['kernels']:>9}"
            print(f"{network:14}{entry['nodes']:>7}{ours}{best:>12}{ratios[-1]:>7.2f}", flush=True)
        print(f"{'geometric mean':14}{geometric_mean(ratios):>54.2f}")
    return int(disagreements > 0)


def count(network: str, target: str) -> dict[str, Any]:
    """The launches of one network, both ways."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="mlirfuse-bench-") as folder:
        model = str(Path(folder) / f"{network}.onnx")
        onnx.save(zoo.build(f"light/{network}"), model)
        # The simulator's kernels are those of cuda, and need no assembler.
        compiled = "simulator" if target == "cuda" else target
        totals = compile_artifact(model, compiled).report["totals"]
        text, _ = emit(model, target, CompileOptions(), "kernels")
    return {
        "network": network,
        "target": target,
        "nodes": totals["nodes_imported"],
        "launches": totals["launches"],
        "counted": len(STEP.findall(str(text))),
        "kernels": totals["kernels"],
    }


def table(entries: Mapping[str, Mapping[str, Any]], others: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: launches for each target, and those of the other compilers."""
    targets = sorted({entry["target"] for entry in entries.values()})
    head = ["network", "nodes", *targets, "ONNX Runtime", "IREE", "torch.compile"]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for network in sorted({entry["network"] for entry in entries.values()}):
        own = {target: entries[f"{network} {target}"] for target in targets if f"{network} {target}" in entries}
        nodes = next(iter(own.values()))["nodes"]
        counts = [own[target]["launches"] if target in own else "" for target in targets]
        other = others[network]
        theirs = [other["onnxruntime"], sum(other["iree"].values()), sum(other["inductor"].values())]
        rows.append([network, nodes, *counts, *theirs])
    return "\n".join(map(markdown_row, rows)) + "\n\nCounted by `python benchmarks/launches.py`."


if __name__ == "__main__":
    sys.exit(main())
