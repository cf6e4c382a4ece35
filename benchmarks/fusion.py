"""What fusion makes of the networks of the DNNFusion paper: launches and intermediate bytes.

    python benchmarks/fusion.py [--networks unet,tinybert-s384] [--target cuda] [--force]
    python benchmarks/fusion.py --readme     # only write the table into docs/fusion.md from the results

Launches are the groups of the plan and the nodes on the host, and again the launches in the emitted kernels' text; and
once more without rewriting. Their floor are the Many-to-Many operators left after rewriting and joining: each is a
launch of its own unless a group crosses layers. Bytes before fusion are each value between two nodes of the ONNX file,
by onnx's shape inference, and again (`bytes_imported`) each value between the operations that the import makes of them,
where a bias is one of its own; after fusion, each value stored between launches. The paper's figures are data
(fusion_of_the_paper.json). What was counted with the same sources is not counted again.
Exit status 1 if the ways of counting disagree or launches exceed the floor by more than 5 %. Results go to
results/fusion.json.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from arguments import parser_for
from launches import STEP
from measured import PAPER_NETWORKS, Measured, markdown_row, source_digest, write_block

from mlirfuse import zoo
from mlirfuse.dialect import MappingType, WeightStore, semantics
from mlirfuse.frontend import import_model, load_model
from mlirfuse.lowering.passes import run_pipeline
from mlirfuse.lowering.pipeline.stages import pipeline_for
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.lowering.plan.summary import summarize_plan
from mlirfuse.mlir import context, ir
from mlirfuse.options import CompileOptions, parse_target
from mlirfuse.report import intermediate_bytes
from mlirfuse.targets import backend_for

PAPER = Path(__file__).parent / "fusion_of_the_paper.json"
PAGE = Path(__file__).parent.parent / "docs" / "fusion.md"
MB = 1e6
SLACK = 1.05


def main(argv: Sequence[str] | None = None) -> int:
    paper = json.loads(PAPER.read_text())["networks"]
    parser = parser_for(__doc__, "fusion.json", PAPER_NETWORKS, page="docs/fusion.md")
    parser.add_argument("--target", default="cuda")
    args = parser.parse_args(argv)
    results = Measured(args.results, {})
    if args.readme:
        write_block(PAGE, "fusion.py", table(results.entries, paper))
        return 0
    source = source_digest()
    failures = 0
    print(f"{'network':26}{'nodes':>6}{'m2m':>6}{'launches':>9}{'counted':>9}{'ratio':>7}{'paper':>7}{'MB':>17}")
    for network in args.networks:
        if args.force or not results.is_current(network, source=source, target=args.target):
            results.put(network, {**count(network, args.target), "source": source})
        entry = results.entries[network]
        complaints = complaints_about(entry)
        failures += bool(complaints)
        counts = f"{entry['nodes']:>6}{entry['many_to_many']:>6}{entry['launches']:>9}{entry['counted']:>9}"
        theirs = paper.get(network, {}).get("launches", "")
        moved = f"{entry['bytes_before'] / MB:.1f} -> {entry['bytes_after'] / MB:.1f}"
        ratio = entry["launches"] / entry["many_to_many"]
        print(f"{network:26}{counts}{ratio:>7.3f}{theirs:>7}{moved:>17}  {'; '.join(complaints)}", flush=True)
    return int(failures > 0)


def count(network: str, target: str) -> dict[str, Any]:
    """The launches and bytes of one network, each both ways."""
    model = zoo.build(network)
    chosen = parse_target(target)
    options = backend_for(chosen).stage_options(chosen, CompileOptions())
    store = WeightStore()
    with context(), store.active():
        module = import_model(load_model(model, {}), store, {})
        imported = intermediate_bytes(module)
        for stage in ("planned", "scheduled"):
            run_pipeline(module, pipeline_for(stage, options))
        facts = _facts(module)
        run_pipeline(module, pipeline_for("kernels", options))
        kernels = str(module)
    unwritten = backend_for(chosen).stage_options(chosen, CompileOptions(rewrite="none"))
    with context(), store.active():
        plain = import_model(load_model(model, {}), store, {})
        run_pipeline(plain, pipeline_for("planned", unwritten))
        summary = summarize_plan(plain.operation)
    return {
        "network": network,
        "target": target,
        "nodes": sum(node.op_type != "Constant" for node in model.graph.node),
        **facts,
        "counted": len(STEP.findall(kernels)),
        "launches_without_rewriting": summary.launches + summary.fallback_nodes,
        "bytes_imported": imported,
        "bytes_before": bytes_between_nodes(model),
    }


def _facts(module: ir.Module) -> dict[str, Any]:
    """What the plan says: launches, Many-to-Many operators, bytes, and the launches that hold none of those."""
    summary = summarize_plan(module.operation)
    arena = main_function(module.operation).attributes["fusion.arena_bytes"].value
    alone = [row for row in summary.groups if not _anchors(row.ops)]
    return {
        "launches": summary.launches + summary.fallback_nodes,
        "many_to_many": sum(_anchors(row.ops) for row in summary.groups) + summary.fallback_nodes,
        "on_host": summary.fallback_nodes,
        "bytes_after": summary.intermediate_bytes,
        "arena_bytes": arena,
        "without_anchor": [
            {"nodes": list(row.onnx_nodes), "why": sorted({v.kind for v in row.verdicts}), "writes": row.bytes_written}
            for row in alone
        ],
    }


def _anchors(ops: Sequence[str]) -> int:
    return sum(semantics(op).mapping_type == MappingType.MANY_TO_MANY for op in ops)


def bytes_between_nodes(model: onnx.ModelProto) -> int:
    """Bytes of every value that one node of an ONNX model hands to another, by onnx's shape inference."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    types = {v.name: v.type.tensor_type for v in inferred.graph.value_info}
    given = {v.name for v in inferred.graph.output}
    total = 0
    for node in inferred.graph.node:
        for name in node.output:
            if node.op_type != "Constant" and name and name not in given:
                dims = [d.dim_value for d in types[name].shape.dim]
                width = onnx.helper.tensor_dtype_to_np_dtype(types[name].elem_type).itemsize
                total += math.prod(dims) * width
    return total


def complaints_about(entry: Mapping[str, Any]) -> list[str]:
    """What is not as it should be."""
    found = []
    if entry["launches"] != entry["counted"]:
        found.append(f"{entry['counted']} launches in the kernels' text")
    if entry["launches"] > SLACK * entry["many_to_many"]:
        found.append(f"more than {SLACK * entry['many_to_many']:.1f} launches")
    return found


def table(entries: Mapping[str, Mapping[str, Any]], paper: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: launches and bytes of each network beside the paper's."""
    head = ["network", "nodes", "Many-to-Many", "launches", "not rewritten", "paper"]
    head += ["MB before", "MB after", "ratio", "paper's"]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for network in (n for n in paper if n in entries):
        entry, theirs = entries[network], paper[network]
        before, after = entry["bytes_before"] / MB, entry["bytes_after"] / MB
        ratio = f"{theirs['before_mb'] / theirs['after_mb']:.2f}" if "before_mb" in theirs else ""
        launches = [entry["nodes"], entry["many_to_many"], entry["launches"], entry["launches_without_rewriting"]]
        launches.append(theirs["launches"])
        rows.append([network, *launches, f"{before:.0f}", f"{after:.0f}", f"{before / after:.2f}", ratio])
    return "\n".join(map(markdown_row, rows)) + "\n\nCounted by `python benchmarks/fusion.py`."


if __name__ == "__main__":
    sys.exit(main())
