"""Every network of the zoo on the CPU target against ONNX Runtime: how far the outputs are, and what ran on the host.

    python benchmarks/correctness.py [--networks unet,maskrcnn] [--minutes 9]
    python benchmarks/correctness.py --unpassed       # only those without an entry that passed, whatever has changed

Each network is a process of its own, on seeded inputs: normal floats, token numbers below the vocabulary's size, masks
that end in zeros. An error is relative to the largest element of the output. Networks that list regions (TopK,
NonMaxSuppression) are compared row by row, each with its nearest partner, because scores that are equal but for
rounding may swap rows. Only NonMaxSuppression and what comes after it may run on the host. Results go to
results/correctness.json after each network; one that passed with these very sources is not done again. Exit status 1 if
any did not pass.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from arguments import parser_for
from measured import Measured, source_digest, versions
from processes import entry_of, tell

from mlirfuse import zoo
from mlirfuse.cli.accuracy import relative_error, row_errors
from mlirfuse.errors import MlirfuseError

LIMIT = 1e-3
# What lists regions by score, and what makes lengths depend on data: nothing after the second needs to be native.
RANKING = ("TopK", "NonMaxSuppression")
DATA_DEPENDENT = ("NonMaxSuppression",)


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    if args.one:
        tell(check(args.one))
        return 0
    results = Measured(args.results, {})
    code, deadline = source_digest(), time.monotonic() + 60 * args.minutes
    left = 0
    for network in args.networks or zoo.names():
        if _is_known(results, network, code, args):
            continue
        if time.monotonic() > deadline:
            left += 1
            continue
        entry = _in_process(network, args.timeout)
        results.put(network, {"code": code, **entry})
        print(f"{network:24}{summary(entry)}", flush=True)
    unpassed = [name for name in args.networks or zoo.names() if not results.entries.get(name, {}).get("passed")]
    print(f"{args.results}: {len(results.entries)} networks, {len(unpassed)} of them not passed, {left} left to do")
    return int(bool(unpassed))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = parser_for(__doc__, "correctness.json", ())
    parser.add_argument("--minutes", type=float, default=1e6, help="start no network after so long")
    parser.add_argument("--timeout", type=float, default=900, help="seconds that one network may take")
    parser.add_argument("--unpassed", action="store_true", help="leave out what passed, whatever has changed since")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _is_known(results: Measured, network: str, code: str, args: argparse.Namespace) -> bool:
    """Whether there is nothing to do: what failed is always done again."""
    facts = {"passed": True} if args.unpassed else {"passed": True, "code": code}
    return not args.force and results.is_current(network, **facts)


def _in_process(network: str, timeout: float) -> dict[str, Any]:
    """The entry of one network; {"passed": False, "failed": reason} where it could not be compared."""
    return {"passed": False, **entry_of([sys.executable, __file__, "--one", network], timeout)}


def summary(entry: Mapping[str, Any]) -> str:
    """One line for one network."""
    if "failed" in entry:
        return f"failed: {entry['failed']}"
    host = f", on the host: {', '.join(entry['unexpected_on_host'])}" if entry["unexpected_on_host"] else ""
    error = "not comparable" if entry["error"] is None else f"error {entry['error']:.1e}"
    return f"{'ok ' if entry['passed'] else 'BAD'} {error}, {entry['launches']} launches{host}"


# --- one network ----------------------------------------------------------------------------------


def check(network: str) -> dict[str, Any]:
    """Compile, run and compare one network."""
    import onnx
    import onnxruntime

    from mlirfuse.compiler import compile_artifact
    from mlirfuse.runtime import load

    model = zoo.build(network)
    inputs = inputs_of(model)
    try:
        artifact = compile_artifact(model, "cpu")
        found = load(artifact).run(inputs)
    except MlirfuseError as error:
        return {"passed": False, "failed": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
    with tempfile.TemporaryDirectory(prefix="mlirfuse-bench-") as folder:
        path = str(Path(folder) / "model.onnx")
        onnx.save(model, path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        expected = dict(zip(names, session.run(names, inputs), strict=True))
    ranked = any(node.op_type in RANKING for node in model.graph.node)
    errors = row_errors(found, expected) if ranked else {k: relative_error(found[k], v)[0] for k, v in expected.items()}
    unexpected = sorted(set(artifact.report["fallbacks"]) - may_fall_back(model))
    worst = max(errors.values())
    totals = artifact.report["totals"]
    return {
        "passed": worst <= LIMIT and not unexpected,
        "error": worst if np.isfinite(worst) else None,
        "errors": {name: error if np.isfinite(error) else None for name, error in errors.items()},
        "by_row": ranked,
        "unexpected_on_host": unexpected,
        **{name: totals[name] for name in ("nodes_imported", "launches", "kernels", "fallback_nodes")},
        "versions": versions(["onnxruntime"]),
    }


def may_fall_back(model: Any) -> set[str]:
    """Names of NonMaxSuppression nodes and of all that is computed from their results."""
    depending: set[str] = set()
    nodes: set[str] = set()
    for node in model.graph.node:
        if node.op_type in DATA_DEPENDENT or depending.intersection(node.input):
            depending |= set(filter(None, node.output))
            nodes.add(node.name)
    return nodes


def inputs_of(model: Any, seed: int = 0) -> dict[str, Any]:
    """Arrays for every input: normal floats; numbers below the table's size where they choose rows of a table; else a
    mask that ends in zeros."""
    import onnx

    generator = np.random.default_rng(seed)
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    tables = {n.input[1]: rows[n.input[0]] for n in model.graph.node if n.op_type == "Gather" and n.input[0] in rows}
    made = {}
    for value in model.graph.input:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        if np.issubdtype(dtype, np.floating):
            made[value.name] = generator.standard_normal(shape).astype(dtype)
        elif value.name in tables:
            made[value.name] = generator.integers(0, tables[value.name], shape).astype(dtype)
        else:
            kept = np.arange(shape[-1]) < max(1, shape[-1] * 7 // 8)
            made[value.name] = np.broadcast_to(kept, shape).astype(dtype)
    return made


if __name__ == "__main__":
    sys.exit(main())
