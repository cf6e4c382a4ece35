"""Our own graphs: ONNX files whose large weights are graph inputs with a recipe in the metadata.

The property `weights` is JSON: tensor name to recipe (see `random_tensors.tensor_from`). Everything else in
the file is the network as it runs.
"""

import functools
import json
from pathlib import Path

import onnx
from onnx import numpy_helper

from mlirfuse.zoo.random_tensors import tensor_from

__all__ = ["build_recipe", "recipe_names"]

_DATA = Path(__file__).parent / "light"
_PROPERTY = "weights"


@functools.cache
def recipe_names() -> tuple[str, ...]:
    """The networks that have a file."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.onnx")))


def build_recipe(name: str, seed: int) -> onnx.ModelProto:
    """The network of one file with its weights as initializers."""
    model = onnx.load(_DATA / f"{name}.onnx")
    recipes = {}
    for index, prop in enumerate(model.metadata_props):
        if prop.key == _PROPERTY:
            recipes = json.loads(prop.value)
            del model.metadata_props[index]
            break
    true_inputs = [value for value in model.graph.input if value.name not in recipes]
    del model.graph.input[:]
    model.graph.input.extend(true_inputs)
    for tensor, recipe in recipes.items():
        model.graph.initializer.append(numpy_helper.from_array(tensor_from(tensor, recipe, seed), tensor))
    return model
