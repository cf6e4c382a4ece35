"""What `gpu.py prepare` packs for a network: an artifact with seeded weights, expected outputs, the graph for torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from gpu_race import apart_file
from gpu_tasks import file_names

from mlirfuse import zoo
from mlirfuse.artifact import Artifact, Recipe
from mlirfuse.cli.arrays import pack_arrays
from mlirfuse.cli.torch_network import describe
from mlirfuse.compiler import compile_artifact
from mlirfuse.errors import MlirfuseError
from mlirfuse.runtime import load
from mlirfuse.runtime.inputs import random_inputs

SMALL = 4096  # bytes of a weight that travels as it is


def prepare(network: str, target: str, folder: Path) -> dict[str, Any]:
    """Write the network's files into `folder` and describe them."""
    import onnx

    artifact_file, expected_file, graph_file = (folder / name for name in file_names(network))
    with tempfile.TemporaryDirectory(prefix="mlirfuse-bench-") as scratch:
        model = str(Path(scratch) / f"{network.replace('/', '_')}.onnx")
        onnx.save(zoo.build(network), model)
        artifact = compile_artifact(model, target)
        apart = compile_artifact(model, target, fusion="no-cross-layer")
        host = compile_artifact(model, "cpu", weights="recipes")
        graph = _graph(model)
    seeded(artifact).save(artifact_file)
    other_file = folder / apart_file(network)
    seeded(apart).save(other_file)
    expected_file.write_bytes(pack_arrays(_expected(artifact, host)))
    graph_file.write_text(json.dumps(graph))
    totals = artifact.report["totals"]
    return {
        "files": [artifact_file.name, other_file.name, expected_file.name, graph_file.name],
        "digest": hashlib.sha256(artifact_file.read_bytes() + other_file.read_bytes()).hexdigest()[:16],
        **{name: totals[name] for name in ("launches", "kernels", "flops", "dram_bytes", "compulsory_bytes")},
    }


def seeded(artifact: Artifact) -> Artifact:
    """The artifact with a recipe for each large weight: random, of the mean and deviation that the weight has."""
    weights: dict[str, Any] = {}
    for key, weight in artifact.weights.items():
        plain = isinstance(weight, Recipe) or weight.nbytes <= SMALL or weight.dtype != np.float32
        weights |= {key: weight} if plain else _recipes(key, weight)
    return dataclasses.replace(artifact, weights=weights)


def _recipes(key: str, weight: Any) -> dict[str, Recipe]:
    """Recipes for a weight; they depend on its content alone, so that each target's artifact gets the same numbers.

    Filters are r - flip(r), whose elements sum to zero: else the offset of ReLU's results drowns the signal in depth,
    the class scores saturate, and outputs say little about the kernels.
    """
    deviation = float(weight.std(dtype=np.float64))
    normal = {"seed": 0, "name": key, "init": "normal", "shape": list(weight.shape)}
    if weight.ndim == 1 or math.prod(weight.shape[1:]) == 1:
        mean = float(weight.mean(dtype=np.float64))
        return {key: Recipe({**normal, "mean": mean, "std": deviation}, (), weight.shape, "float32")}
    raw, flipped, axes = f"{key}.raw", f"{key}.flipped", list(range(1, weight.ndim))
    return {
        raw: Recipe({**normal, "std": deviation / math.sqrt(2)}, (), weight.shape, "float32"),
        flipped: Recipe(raw, ({"op": "flip", "axes": axes},), weight.shape, "float32"),
        key: Recipe(raw, ({"op": "subtract", "by": flipped},), weight.shape, "float32"),
    }


def _expected(artifact: Artifact, host: Artifact) -> dict[str, Any]:
    """The outputs by the CPU target, with the same seeded weights."""
    own, other = ({key for key, w in a.weights.items() if not isinstance(w, Recipe)} for a in (artifact, host))
    if own != other:
        raise MlirfuseError(f"{artifact.model}: the two targets fold weights differently ({len(own ^ other)} differ).")
    outputs = load(seeded(host)).run(*random_inputs(host.inputs))
    if not all(np.isfinite(array).all() for array in outputs.values()):
        raise MlirfuseError(f"{artifact.model}: its outputs are not finite with seeded weights.")
    return outputs


def _graph(model: str) -> dict[str, Any]:
    """The graph for torch, with the shape, mean and deviation of each weight; integers as they are."""
    try:
        graph, weights = describe(model)
    except MlirfuseError as refusal:
        return {"refused": str(refusal)}
    described: dict[str, Any] = {}
    for name, array in weights.items():
        if array.dtype.kind == "f" and array.nbytes > SMALL:
            described[name] = {"shape": list(array.shape), "mean": float(array.mean()), "std": float(array.std())}
        else:
            described[name] = {"values": array.tolist(), "dtype": array.dtype.name}
    return {"graph": graph.to_dict(), "weights": described}
