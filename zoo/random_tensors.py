"""Seeded random tensors: each depends on its name, its description and the seed, and on nothing else."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlirfuse.errors import MlirfuseError

__all__ = ["generator", "tensor_from"]


def generator(name: str, seed: int) -> np.random.Generator:
    """The random generator of one tensor."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def _normal(rng: np.random.Generator, dims: tuple[int, ...], std: float, mean: float = 0.0) -> Any:
    values = rng.standard_normal(dims, dtype=np.float32)
    values *= np.float32(std)
    if mean:
        values += np.float32(mean)
    return values


def _uniform(rng: np.random.Generator, dims: tuple[int, ...], low: float, high: float) -> Any:
    values = rng.random(dims, dtype=np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


def _anchors(spec: Mapping[str, Any]) -> Any:
    """Base boxes moved to every cell of a grid, row-major: [rows * columns * bases, 4]."""
    rows, columns = spec["grid"]
    step = spec["stride"]
    down, right = np.divmod(np.arange(rows * columns), columns)
    corner = np.stack([right, down, right, down], axis=1) * step
    return (corner[:, None, :] + np.asarray(spec["base"])[None]).reshape(-1, 4)


def tensor_from(name: str, spec: Mapping[str, Any], seed: int) -> Any:
    """The array that a recipe describes: `dims`, `dtype`, and `init` with the parameters of its kind.

    Kinds: he (normal, gain * sqrt(2 / fan_in)), normal (mean, std), uniform and uniform_pos (lo, hi),
    ones (scale, jitter), zeros, const (value), grid_anchors (grid, stride, base).
    """
    rng, dims = generator(name, seed), tuple(spec["dims"])
    match spec["init"]:
        case "he":
            values = _normal(rng, dims, spec.get("gain", 1.0) * math.sqrt(2 / spec["fan_in"]))
        case "normal":
            values = _normal(rng, dims, spec["std"], spec.get("mean", 0.0))
        case "uniform" | "uniform_pos":
            values = _uniform(rng, dims, spec["lo"], spec["hi"])
        case "ones":
            scale, jitter = spec.get("scale", 1.0), spec.get("jitter", 0.1)
            values = _uniform(rng, dims, scale * (1 - jitter), scale * (1 + jitter))
        case "zeros":
            values = np.zeros(dims, np.float32)
        case "const":
            values = np.full(dims, spec["value"], np.float32)
        case "grid_anchors":
            values = _anchors(spec).reshape(dims)
        case kind:
            raise MlirfuseError(
                f"The recipe of the tensor '{name}' has the unknown kind '{kind}'; the zoo's data is damaged."
            )
    return values.astype(spec["dtype"], copy=False)
