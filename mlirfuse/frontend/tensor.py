"""A value of an ONNX graph while it is imported."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlirfuse.dialect import TensorType
from mlirfuse.dialect.node import REPRESENTABLE

__all__ = ["LARGEST_BYTES", "Tensor", "known", "too_large"]

# Of one tensor: beyond what any machine holds, and far enough below 2^63 that sums of offsets stay whole numbers of 64
# bits.
LARGEST_BYTES = 1 << 40


@dataclass(frozen=True, eq=False)
class Tensor:
    """Either known while importing (`array`) or computed by an op (`value`); never both."""

    type: TensorType
    array: Any = None
    value: Any = None

    @property
    def known(self) -> bool:
        return self.array is not None

    @property
    def static(self) -> bool:
        return self.type.static

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape of a static tensor."""
        return self.type.dims

    @property
    def rank(self) -> int:
        return self.type.rank

    @property
    def dtype(self) -> str:
        """The element type's NumPy name."""
        return self.type.dtype

    @property
    def representable(self) -> bool:
        """Whether the dialect has the element type (strings and sub-byte types it has not)."""
        return self.type.dtype in REPRESENTABLE

    @property
    def floating(self) -> bool:
        return self.type.dtype in ("float32", "float16", "float64", "bfloat16")


def known(array: Any) -> Tensor:
    """A tensor whose elements are known."""
    array = np.asarray(array)
    return Tensor(TensorType(tuple(array.shape), array.dtype.name), array=array)


def too_large(tensor: TensorType) -> str | None:
    """What is wrong with a tensor of more than `LARGEST_BYTES`; None if it has no more."""
    if not tensor.static or tensor.bytes <= LARGEST_BYTES:
        return None
    return f"{tensor}, which takes {tensor.bytes} bytes; the limit for one tensor is {LARGEST_BYTES} (1 TiB)"
