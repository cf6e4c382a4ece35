"""Element types: MLIR's and NumPy's names for them, and the shape of a value."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlirfuse.mlir import ir
from mlirfuse.simulator.fault import SimulationError

ml_dtypes: Any
try:
    import ml_dtypes
except ImportError:  # only bf16 kernels need it
    ml_dtypes = None

__all__ = ["ValueType", "element_dtype", "value_type"]

DTYPES: dict[str, Any] = {
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "i1": np.dtype(np.bool_),
    "i8": np.dtype(np.int8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "index": np.dtype(np.int64),
}
if ml_dtypes is not None:
    DTYPES["bf16"] = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class ValueType:
    """A scalar (`shape == ()`) or vector value: element type, vector shape, and MLIR's element name."""

    dtype: np.dtype
    shape: tuple[int, ...]
    element: str

    @property
    def size(self) -> int:
        """Elements per thread."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_float(self) -> bool:
        """f16, bf16, f32 or f64."""
        return self.element[0] in "fb"


def element_dtype(name: str) -> np.dtype:
    """The NumPy type of MLIR element type `name`; unsupported types raise."""
    if name not in DTYPES:
        known = ", ".join(sorted(DTYPES))
        raise SimulationError(f"the simulator has no element type {name}; it knows {known} (bf16 needs ml_dtypes)")
    return DTYPES[name]


def value_type(type_: Any) -> ValueType:
    """Element type and vector shape of an SSA value's or a memref element's type."""
    if isinstance(type_, ir.VectorType):
        element = str(type_.element_type)
        return ValueType(element_dtype(element), tuple(type_.shape), element)
    return ValueType(element_dtype(str(type_)), (), str(type_))
