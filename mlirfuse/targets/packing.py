"""The weights of an artifact: each stored once, and a recipe for every memory order that kernels read."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlirfuse.artifact import Recipe
from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.pipeline.host_program import packed_weights

__all__ = ["weights_of"]


def weights_of(module: Any, store: Any) -> dict[str, Any]:
    """What the artifact holds for every weight that the program in `module` reads."""
    found: dict[str, Any] = {}
    for name, weight in packed_weights(module).items():
        array = store.get(weight["key"])
        if array is None:
            raise MlirfuseError(f"The weight store has no bytes for '{weight['key']}'; give the stage's safetensors file along with its text.")
        base = array.view(np.int8) if array.dtype == np.bool_ else array
        found[weight["key"]] = np.atleast_1d(base)
        if weight["layout"] is not None:
            shape = tuple(weight["shape"][axis] for axis in weight["layout"])
            steps = ({"op": "transpose", "perm": list(weight["layout"])},)
            found[name] = Recipe(weight["key"], steps, shape, base.dtype.name)
    return found
