"""Checked access to JSON that came from a file: a wrong shape of data is an ArtifactError that names the place."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mlirfuse.errors import ArtifactError

__all__ = ["count", "entries", "field", "malformed", "mapping", "shape", "text"]

T = TypeVar("T")
_REQUIRED = object()
MAX_COUNT = 2**48  # no size, offset or dimension of a real artifact is larger; keeps arithmetic in 64 bits


def malformed(where: str, expected: str, found: Any) -> ArtifactError:
    """The error for a manifest that says something other than the format allows."""
    shown = repr(found)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return ArtifactError(
        f"The artifact's manifest is malformed: {where} should be {expected}, found {shown}. "
        f"It was not written by this version of mlirfuse; compile the model again."
    )


def field(
    data: Mapping[str, Any], name: str, check: Callable[[Any, str], T], where: str, default: Any = _REQUIRED
) -> T:
    """`data[name]` as `check` returns it; `default` where it is absent, if one is given."""
    if name in data:
        return check(data[name], f"{where}.{name}")
    if default is _REQUIRED:
        raise malformed(where, f"an object with '{name}'", data)
    return default


def text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise malformed(where, "a string", value)
    return value


def count(value: Any, where: str) -> int:
    """A whole number of at least 0."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
        raise malformed(where, "a whole number of at least 0", value)
    return value


def mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise malformed(where, "an object", value)
    return value


def entries(item: Callable[[Any, str], T]) -> Callable[[Any, str], tuple[T, ...]]:
    """A check for a list of what `item` checks."""

    def check(value: Any, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise malformed(where, "a list", value)
        return tuple(item(entry, f"{where}[{index}]") for index, entry in enumerate(value))

    return check


def shape(value: Any, where: str) -> tuple[int, ...]:
    return entries(count)(value, where)
