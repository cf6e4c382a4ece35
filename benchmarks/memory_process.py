"""One process whose memory is measured: load a compiled network (or an ONNX file), run it once, and say what it took.

    python memory_process.py mlirfuse|onnxruntime MODEL INPUTS.npz THREADS

The baseline is the resident memory once everything is imported and the inputs are read; the peak is the kernel's
high-water mark, begun anew at the baseline. Prints one line of JSON, in bytes.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    runtime, model, inputs_file, threads = sys.argv[1:]
    import numpy as np

    with np.load(inputs_file, allow_pickle=False) as file:
        inputs = {name: file[name] for name in file.files}
    prepare = {"mlirfuse": _mlirfuse, "onnxruntime": _onnxruntime}[runtime]
    baseline, outputs = prepare(model, inputs, int(threads))
    after = _memory()
    absent = sorted({"onnx", "onnxruntime", "torch_mlir"} & set(sys.modules)) if runtime == "mlirfuse" else []
    print(
        json.dumps(
            {
                "baseline_bytes": baseline["VmRSS"],
                "peak_bytes": after["VmHWM"],
                "resident_bytes": after["VmRSS"],
                "anonymous_bytes": after["RssAnon"],
                "outputs": len(outputs),
                "compiler_imported": absent,
            }
        )
    )


def _mlirfuse(model: str, inputs: dict[str, Any], threads: int) -> tuple[dict[str, int], Any]:
    import mlirfuse
    import mlirfuse.runtime.host  # what load imports for the CPU

    baseline = _begin()
    executable = mlirfuse.load(model, threads=threads)
    return baseline, executable.run(inputs)


def _onnxruntime(model: str, inputs: dict[str, Any], threads: int) -> tuple[dict[str, int], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    baseline = _begin()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return baseline, session.run(None, inputs)


def _begin() -> dict[str, int]:
    """Start the high-water mark anew; memory as it is now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory()


def _memory() -> dict[str, int]:
    """The kernel's account of this process, in bytes."""
    text = Path("/proc/self/status").read_text()
    return {name: int(kib) * 1024 for name, kib in re.findall(r"^(Vm\w+|Rss\w+):\s+(\d+) kB", text, re.MULTILINE)}


if __name__ == "__main__":
    main()
