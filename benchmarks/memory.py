"""Peak memory of loading a network and running it once: mlirfuse and ONNX Runtime, each in a process of its own.

    python benchmarks/memory.py [--networks vgg16,unet] [--threads 2] [--rounds 3]
    python benchmarks/memory.py --readme       # only write the table into README.md from the results

mlirfuse loads an artifact that was compiled before, ONNX Runtime a file with all weights; memory is what the kernel
says was resident at most, less what was resident once everything was imported: the largest of all rounds for mlirfuse,
the smallest for ONNX Runtime. A second route counts instead of measuring:
weights, arena, inputs and outputs by the plan, beside the initializers and the largest sum of values in use at once
when the ONNX file's nodes run one by one in its order. Results go to results/memory.json after each network; one that
was measured with these very sources is not measured again. Exit status 1 if mlirfuse takes more on any.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arguments import parser_for
from correctness import inputs_of
from measured import (
    PAPER_NETWORKS,
    README,
    Measured,
    machine,
    markdown_row,
    source_digest,
    versions,
    write_block,
)

from mlirfuse import zoo
from mlirfuse.cli.arrays import pack_arrays
from mlirfuse.cli.race import environment
from mlirfuse.compiler import compile_artifact

RUNTIMES = ("mlirfuse", "onnxruntime")
MIB = 1 << 20


def main(argv: Sequence[str] | None = None) -> int:
    parser = parser_for(__doc__, "memory.json", PAPER_NETWORKS, page="README.md")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each runtime")
    args = parser.parse_args(argv)
    results = Measured(args.results, machine())
    if not args.readme:
        facts = {"code": source_digest(), "threads": args.threads, "rounds": args.rounds}
        for network in args.networks:
            if args.force or not results.is_current(network, **facts):
                print(f"{network} ...", file=sys.stderr, flush=True)
                results.put(network, {**facts, **measure(network, args.threads, args.rounds)})
    if not results.entries:
        print(f"{args.results} holds no measurement of this machine yet.", file=sys.stderr)
        return 1
    print(table(results.entries))
    if args.readme:
        _write_readme(results)
    above = [name for name, entry in results.entries.items() if ratio(entry) > 1]
    if above:
        print(f"more than ONNX Runtime: {', '.join(above)}", file=sys.stderr)
    return int(bool(above))


def measure(network: str, threads: int, rounds: int) -> dict[str, Any]:
    """One network, measured in both runtimes and counted in both ways."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="mlirfuse-bench-") as name:
        folder = Path(name)
        model, artifact, inputs = folder / "model.onnx", folder / "model.mlirfuse", folder / "inputs.npz"
        proto = zoo.build(network)
        onnx.save(proto, model)
        inputs.write_bytes(pack_arrays(inputs_of(proto)))
        counted = {"onnx": count_onnx(proto)}
        del proto
        compiled = compile_artifact(str(model), "cpu")
        compiled.save(artifact)
        counted["mlirfuse"] = count_plan(compiled)
        del compiled
        files = {"mlirfuse": artifact, "onnxruntime": model}
        taken: dict[str, list[dict[str, Any]]] = {runtime: [] for runtime in RUNTIMES}
        for _ in range(rounds):
            for runtime in RUNTIMES:
                taken[runtime].append(_in_process(runtime, files[runtime], inputs, threads))
    chosen = {runtime: _by_peak(taken[runtime])[0 if runtime == "onnxruntime" else -1] for runtime in RUNTIMES}
    spread = {runtime: [entry["taken_bytes"] for entry in taken[runtime]] for runtime in RUNTIMES}
    return {
        "network": network,
        "measured": chosen,
        "rounds_bytes": spread,
        "counted": counted,
        "versions": versions(["onnxruntime", "llvmlite"]),
    }


def _by_peak(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: entry["taken_bytes"])


def _in_process(runtime: str, model: Path, inputs: Path, threads: int) -> dict[str, Any]:
    script = Path(__file__).with_name("memory_process.py")
    command = [sys.executable, str(script), runtime, str(model), str(inputs), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        raise RuntimeError(f"{runtime} could not run {model}: {done.stderr.strip()[-500:]}")
    entry = json.loads(done.stdout.splitlines()[-1])
    return {**entry, "taken_bytes": entry["peak_bytes"] - entry["baseline_bytes"]}


# --- counting -------------------------------------------------------------------------------------


def count_plan(artifact: Any) -> dict[str, int]:
    """Bytes that the compiled program needs: packed weights, arena, and the buffers that callers hand over."""
    program = next(iter(artifact.plans.values())).program
    weights = {key: artifact.weights[key] for key in program.weight_keys()}
    return {
        "weights": sum(_bytes(w.shape, str(w.dtype)) for w in weights.values()),
        "values": program.arena_bytes,
        "inputs_and_outputs": sum(_bytes(s.shape, s.dtype) for s in (*artifact.inputs, *artifact.outputs)),
    }


def count_onnx(model: Any) -> dict[str, int]:
    """Bytes of the initializers, and of the values at the node where most are in use, each to its last use."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    sizes = {v.name: _value_bytes(v) for v in (*inferred.value_info, *inferred.output)}
    last: dict[str, int] = {}
    for position, node in enumerate(inferred.node):
        last.update((name, position) for name in (*node.input, *node.output) if name in sizes)
    outputs = {value.name for value in inferred.output}
    alive = most = 0
    for position, node in enumerate(inferred.node):
        alive += sum(sizes.get(name, 0) for name in node.output if name not in outputs)
        most = max(most, alive)
        ended = {name for name in (*node.input, *node.output) if last.get(name) == position and name not in outputs}
        alive -= sum(sizes[name] for name in ended)
    ends = (*inferred.input, *inferred.output)
    return {
        "weights": sum(_bytes(t.dims, _dtype(t.data_type)) for t in inferred.initializer),
        "values": most,
        "inputs_and_outputs": sum(_value_bytes(v) for v in ends),
    }


def _value_bytes(value: Any) -> int:
    tensor = value.type.tensor_type
    return _bytes([dim.dim_value for dim in tensor.shape.dim], _dtype(tensor.elem_type))


def _dtype(code: int) -> str:
    import onnx

    return onnx.helper.tensor_dtype_to_np_dtype(code).name


def _bytes(shape: Sequence[int | None], dtype: str) -> int:
    import numpy as np

    return math.prod(n or 0 for n in shape) * np.dtype(dtype).itemsize


# --- the table ------------------------------------------------------------------------------------


def ratio(entry: Mapping[str, Any]) -> float:
    """What mlirfuse takes over what ONNX Runtime takes."""
    return entry["measured"]["mlirfuse"]["taken_bytes"] / entry["measured"]["onnxruntime"]["taken_bytes"]


def table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: MiB measured in each runtime, and counted."""
    head = ["network", "mlirfuse", "ONNX Runtime", "÷", "weights", "arena", "weights of the file", "values of the file"]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for network, entry in sorted(entries.items()):
        taken = [entry["measured"][runtime]["taken_bytes"] for runtime in RUNTIMES]
        counts = [entry["counted"][of][what] for of in ("mlirfuse", "onnx") for what in ("weights", "values")]
        shown = [f"{n / MIB:.1f}" for n in (*taken, *counts)]
        rows.append([network, *shown[:2], f"{ratio(entry):.2f}", *shown[2:]])
    return "\n".join(map(markdown_row, rows))


def _write_readme(results: Measured) -> None:
    here = results.data["machine"]
    entries = results.entries.values()
    peers = sorted({entry["versions"]["onnxruntime"] for entry in entries})
    dates, rounds = sorted({entry["date"] for entry in entries}), sorted({entry["rounds"] for entry in entries})
    note = (
        f"{here['cpu']}, {here['cores']} cores; batch 1, fp32; ONNX Runtime {', '.join(peers)}; {', '.join(dates)}. "
        f"Of {', '.join(map(str, rounds))} processes each, the largest figure for mlirfuse and the smallest for ONNX "
        f"Runtime.\n\nMade by `python benchmarks/memory.py && python benchmarks/memory.py --readme`."
    )
    write_block(README, "memory.py", f"{table(results.entries)}\n\n{note}")


if __name__ == "__main__":
    sys.exit(main())
