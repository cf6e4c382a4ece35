"""Weights by recipe: a source tensor or a seed, and NumPy steps that make the weight from it.

A packed or folded weight is a recipe over the tensor it came from, so weights are stored once however
many architectures pack them; and a recipe from a seed lets an artifact travel without weights.
Replaying needs numpy alone. A new step is one function with `@step`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlirfuse.artifact.dtypes import known_dtype, numpy_dtype
from mlirfuse.artifact.schema import entries, field, malformed, mapping, shape, text
from mlirfuse.errors import ArtifactError

__all__ = ["STEPS", "Recipe", "apply_steps", "replay"]

Array = np.ndarray[Any, Any]
Lookup = Callable[[str], Array]
STEPS: dict[str, Callable[[Array, Mapping[str, Any], Lookup], Array]] = {}


@dataclass(frozen=True, eq=False)
class Recipe:
    """How to make a weight of `shape` and `dtype`.

    `source` is the key of another weight or a seeded initializer, {"seed": 0, "name": "conv1.weight",
    "init": "normal", "shape": [64, 3, 7, 7], "std": 0.05}. `steps` are objects such as
    {"op": "transpose", "perm": [0, 2, 3, 1]}.
    """

    source: str | Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    shape: tuple[int, ...]
    dtype: str

    def references(self) -> tuple[str, ...]:
        """The weights this one is made from."""
        own = (self.source,) if isinstance(self.source, str) else ()
        return own + tuple(key for s in self.steps for key in _referenced(s))

    def to_json(self) -> dict[str, Any]:
        source = self.source if isinstance(self.source, str) else dict(self.source)
        return {
            "recipe": {"source": source, "steps": [dict(s) for s in self.steps]},
            "shape": list(self.shape),
            "dtype": self.dtype,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str) -> "Recipe":
        recipe = field(data, "recipe", mapping, where)
        source = recipe.get("source")
        if not isinstance(source, (str, dict)):
            raise malformed(f"{where}.recipe.source", "a weight's key or an object with a seed", source)
        return cls(
            source,
            field(recipe, "steps", entries(_known_step), where, ()),
            field(data, "shape", shape, where),
            field(data, "dtype", known_dtype, where),
        )


def replay(recipe: Recipe, lookup: Lookup, key: str) -> Array:
    """Make the weight called `key`; ArtifactError if the recipe does not yield what it promises."""
    source = lookup(recipe.source) if isinstance(recipe.source, str) else _seeded(recipe.source, key)
    made = np.asarray(apply_steps(source, recipe.steps, lookup, key), order="C")
    if made.dtype != numpy_dtype(recipe.dtype) or made.shape != recipe.shape:
        raise ArtifactError(
            f"The recipe of weight '{key}' yields {made.dtype}{list(made.shape)} where {recipe.dtype}"
            f"{list(recipe.shape)} was promised; compile the model again."
        )
    return made


def apply_steps(array: Array, steps: tuple[Mapping[str, Any], ...], lookup: Lookup, key: str = "") -> Array:
    """Run the steps on `array`; what the compiler calls to make a packed weight, and the runtime to make it again."""
    for number, entry in enumerate(steps):
        try:
            array = STEPS[entry["op"]](array, entry, lookup)
        except ArtifactError:
            raise
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"Step {number} of the recipe of weight '{key}', {dict(entry)!r}, fails on {array.dtype}"
                f"{list(array.shape)}: {type(error).__name__}: {error}. Compile the model again."
            ) from error
    return array


# --- steps ----------------------------------------------------------------------------------------


def step(function: Callable[[Array, Mapping[str, Any], Lookup], Array]) -> Callable[..., Array]:
    """Register a step under the function's name without its trailing underscore."""
    STEPS[function.__name__.rstrip("_")] = function
    return function


@step
def transpose(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"perm": [axis, ...]}"""
    return np.transpose(x, entry["perm"])


@step
def reshape(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"shape": [n, ...]}"""
    return x.reshape(entry["shape"])


@step
def cast(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"dtype": "float16"}, rounding to nearest even"""
    return x.astype(numpy_dtype(known_dtype(entry["dtype"], "cast.dtype")))


@step
def pad(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"widths": [[before, after], ...], "value": 0}"""
    return np.pad(x, entry["widths"], constant_values=entry.get("value", 0))


@step
def slice_(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"bounds": [[start, stop, step], ...]}, one for each axis; null is Python's None"""
    return x[tuple(slice(*bounds) for bounds in entry["bounds"])]


@step
def flip(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"axes": [axis, ...]}"""
    return np.flip(x, tuple(entry["axes"]))


@step
def broadcast(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"shape": [n, ...]}"""
    return np.broadcast_to(x, entry["shape"])


@step
def take(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"indices": [i, ...], "axis": 0}"""
    return np.take(x, entry["indices"], axis=entry["axis"])


@step
def concat(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"with": [key, ...], "axis": 0}"""
    return np.concatenate([x, *map(lookup, entry["with"])], axis=entry["axis"])


@step
def scale(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"value": number}, in the type of the array"""
    return x * np.asarray(entry["value"], x.dtype)


@step
def shift(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"value": number}, in the type of the array"""
    return x + np.asarray(entry["value"], x.dtype)


@step
def add(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"by": key, "shape": [n, ...]}: the other weight, reshaped if asked, broadcast"""
    return x + _other(entry, lookup)


@step
def subtract(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"by": key, "shape": [n, ...]}"""
    return x - _other(entry, lookup)


@step
def multiply(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"by": key, "shape": [n, ...]}"""
    return x * _other(entry, lookup)


@step
def divide(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"by": key, "shape": [n, ...]}"""
    return x / _other(entry, lookup)


@step
def sqrt(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{}"""
    return np.sqrt(x)


@step
def negate(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{}"""
    return -x


@step
def round_tf32(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{}: float32 to the nearest tf32 (10 bits of mantissa), ties away from zero, as PTX cvt.rna.tf32.f32"""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    finite = (bits & 0x7F800000) != 0x7F800000
    return np.where(finite, (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), bits).astype(np.uint32).view(np.float32)


@step
def einsum(x: Array, entry: Mapping[str, Any], lookup: Lookup) -> Array:
    """{"subscripts": "ij,ocjk->ocik", "matrix": [[...]]}: a small constant matrix times x (Winograd filters)"""
    return np.einsum(entry["subscripts"], np.asarray(entry["matrix"], x.dtype), x)


def _other(entry: Mapping[str, Any], lookup: Lookup) -> Array:
    other = lookup(entry["by"])
    return other.reshape(entry["shape"]) if "shape" in entry else other


def _referenced(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return ((entry["by"],) if "by" in entry else ()) + tuple(entry.get("with", ()))


def _known_step(value: Any, where: str) -> dict[str, Any]:
    entry = mapping(value, where)
    if field(entry, "op", text, where) not in STEPS:
        raise malformed(f"{where}.op", f"one of {', '.join(STEPS)}", entry["op"])
    field(entry, "by", text, where, "")
    field(entry, "with", entries(text), where, ())
    return entry


# --- seeded sources -------------------------------------------------------------------------------


def _seeded(source: Mapping[str, Any], key: str) -> Array:
    """The array of a seeded initializer; it depends on the seed, the name and the description alone.

    "init" is "normal" (mean, std), "uniform" (lo, hi), "zeros", "ones" or "const" (value).
    """
    where = f"weights[{key!r}].recipe.source"
    name = field(source, "name", text, where, "")
    dimensions = field(source, "shape", shape, where)
    digest = hashlib.sha256(f"{source.get('seed', 0)}:{name}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))

    def number(parameter: str, default: float) -> float:
        value = source.get(parameter, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise malformed(f"{where}.{parameter}", "a number", value)
        return float(value)

    try:
        match source.get("init"):
            case "normal":
                values = generator.standard_normal(dimensions, dtype=np.float32)
                return values * np.float32(number("std", 1.0)) + np.float32(number("mean", 0.0))
            case "uniform":
                low, high = number("lo", 0.0), number("hi", 1.0)
                return generator.random(dimensions, dtype=np.float32) * np.float32(high - low) + np.float32(low)
            case "zeros":
                return np.zeros(dimensions, np.float32)
            case "ones":
                return np.ones(dimensions, np.float32)
            case "const":
                return np.full(dimensions, number("value", 0.0), np.float32)
    except (MemoryError, ValueError) as error:
        raise ArtifactError(f"The weight '{key}' of shape {list(dimensions)} cannot be made: {error}.") from error
    raise malformed(f"{where}.init", "one of normal, uniform, zeros, ones, const", source.get("init"))
