"""Element types by name: numpy's names, and those of the small floats that numpy itself lacks."""

import functools
from typing import Any

import numpy as np

from mlirfuse.element_types import element_bytes
from mlirfuse.errors import ArtifactError

__all__ = ["SAFETENSORS_CODES", "element_bytes", "kernel_dtype", "known_dtype", "numpy_dtype"]

SAFETENSORS_CODES = {
    "bool": "BOOL",
    "int8": "I8",
    "uint8": "U8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "complex64": "C64",
}


def known_dtype(value: Any, where: str) -> str:
    """A schema check: the name of an element type that artifacts can hold."""
    if not isinstance(value, str) or value not in SAFETENSORS_CODES:
        raise ArtifactError(
            f"The artifact's manifest is malformed: {where} should be an element type "
            f"({', '.join(SAFETENSORS_CODES)}), found {value!r}. Compile the model again."
        )
    return value


@functools.cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy type called `name`; a small float is its bits (uint16, uint8) where ml_dtypes is not installed."""
    try:
        return np.dtype(name)
    except TypeError:
        pass
    try:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
    except (ImportError, AttributeError):
        return np.dtype(f"u{element_bytes(name)}")


@functools.cache
def kernel_dtype(name: str) -> np.dtype[Any]:
    """What kernels see: booleans are one byte, 0 or 1, and integers have no sign."""
    dtype = numpy_dtype(name)
    return np.dtype(f"i{dtype.itemsize}") if dtype.kind in "bu" else dtype
