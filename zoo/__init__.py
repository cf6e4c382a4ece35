"""Networks for tests and benchmarks: real structures, random weights, nothing to download.

`light/NAME` are the nine networks that the onnx package carries; the plain names are graphs that come with this
package (`zoo/light/*.onnx`); `blocks/NAME` are single blocks of networks. Weights depend only on network, tensor name
and seed.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from mlirfuse.errors import MlirfuseError
from mlirfuse.zoo.wheel_names import WHEEL_NETWORKS

if TYPE_CHECKING:
    import onnx

__all__ = ["WHEEL_NETWORKS", "blocks", "build", "names"]

_PREFIX = "light/"
_BLOCK = "blocks/"


def names() -> tuple[str, ...]:
    """Every name that `build` knows, those of the onnx package first."""
    from mlirfuse.zoo.recipes import recipe_names

    return tuple(_PREFIX + name for name in WHEEL_NETWORKS) + recipe_names()


def blocks() -> tuple[str, ...]:
    """Further names that `build` knows: single blocks of networks."""
    from mlirfuse.zoo.block_models import block_names

    return tuple(_BLOCK + name for name in block_names())


def build(name: str, *, seed: int = 0) -> onnx.ModelProto:
    """The network with weights filled in; MlirfuseError with suggestions for an unknown name."""
    from mlirfuse.zoo.recipes import build_recipe, recipe_names
    from mlirfuse.zoo.wheel_networks import build_wheel_network

    name = name.removeprefix("zoo:").removesuffix(".onnx")
    if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) in WHEEL_NETWORKS:
        return build_wheel_network(name.removeprefix(_PREFIX), seed)
    if name in recipe_names():
        return build_recipe(name, seed)
    if name in blocks():
        from mlirfuse.zoo.block_models import build_block

        return build_block(name.removeprefix(_BLOCK), seed)
    known = (*names(), *blocks())
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or [k for k in known if name and name in k][:3]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}."
    raise MlirfuseError(f"The zoo has no network '{name}'; {hint} `mlirfuse zoo` lists all {len(known)}.")
