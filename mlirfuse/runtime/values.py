"""What a caller hands over, checked against what the network expects. Nothing is cast in silence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import TensorSpec
from mlirfuse.artifact.dtypes import numpy_dtype
from mlirfuse.errors import MlirfuseError

__all__ = ["Slot", "arrange", "device_of"]

Array = np.ndarray[Any, Any]
# DLPack's DLDeviceType: memory that the host can read, and names for the rest
_HOST_DEVICES = (1, 3, 11)  # CPU, CUDA pinned, ROCm pinned
_DEVICE_NAMES = {2: "a CUDA device", 13: "CUDA managed memory", 7: "a Vulkan device", 8: "a Metal device", 10: "ROCm"}


def arrange(specs: Sequence[TensorSpec], values: Any, what: str) -> list[Any]:
    """Values in the order of `specs`, from a dictionary by name or a sequence by position."""
    if isinstance(values, Mapping):
        missing = [spec.name for spec in specs if spec.name not in values]
        unknown = sorted(set(values) - {spec.name for spec in specs}, key=str)
        if missing or unknown:
            faults = [f"{', '.join(map(repr, missing))} missing"] if missing else []
            faults += [f"{', '.join(map(repr, unknown))} unknown"] if unknown else []
            raise MlirfuseError(f"The {what}s do not match the network: {'; '.join(faults)}. {_expected(specs, what)}")
        return [values[spec.name] for spec in specs]
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise MlirfuseError(f"Found a {type(values).__name__} as the {what}s. {_expected(specs, what)}")
    if len(values) != len(specs):
        raise MlirfuseError(f"Found {len(values)} {what}s. {_expected(specs, what)}")
    return list(values)


def _expected(specs: Sequence[TensorSpec], what: str) -> str:
    listed = ", ".join(f"{spec.name!r} {spec.dtype}{list(spec.shape)}" for spec in specs)
    plural = "" if len(specs) == 1 else "s"
    return f"The network has {len(specs)} {what}{plural}: {listed or 'none'}; pass them by name or in this order."


def device_of(value: Any) -> tuple[int, int] | None:
    """(DLPack device type, ordinal) of an array outside host memory; None for anything the host can read."""
    if isinstance(value, np.ndarray):
        return None
    method = getattr(value, "__dlpack_device__", None)
    if method is None:
        return None
    kind, ordinal = method()
    return None if int(kind) in _HOST_DEVICES else (int(kind), int(ordinal))


class Slot:
    """One input or output of a network, ready to check arrays quickly."""

    def __init__(self, spec: TensorSpec, what: str) -> None:
        self.spec = spec
        self.what = what
        self.dtype = numpy_dtype(spec.dtype)
        self.shape = spec.shape
        self.is_static = None not in spec.shape

    def read(self, value: Any) -> Array:
        """`value` as a dense array of the right type and shape: the same memory unless it is strided."""
        if type(value) is np.ndarray and value.dtype == self.dtype and value.shape == self.shape:
            return value if value.flags.c_contiguous and value.flags.aligned else np.require(value, None, ("C", "A"))
        array = self._host_array(value)
        self._check(array.dtype, array.shape)
        return np.require(array, None, ("C", "A"))

    def attach(self, value: Any, *, writable: bool) -> Array:
        """`value`'s own memory for repeated use: it must be dense already, and writable for an output."""
        if not isinstance(value, np.ndarray) and not hasattr(value, "__dlpack__"):
            raise self._error("an array, whose memory the bound call uses each time", f"a {type(value).__name__}")
        array = self._host_array(value)
        self._check(array.dtype, array.shape)
        if not array.flags.c_contiguous or not array.flags.aligned:
            raise self._error("a dense, aligned array in C order", f"strides {array.strides}; make it contiguous first")
        if writable and not array.flags.writeable:
            raise self._error("a writable array", "a read-only one")
        return array

    def empty(self) -> Array:
        """A fresh array of this type and shape."""
        return np.empty(self.shape, self.dtype)  # type: ignore[arg-type]

    def _host_array(self, value: Any) -> Array:
        if isinstance(value, np.ndarray):
            return value
        device = device_of(value)
        if device is not None:
            place = _DEVICE_NAMES.get(device[0], f"DLPack device type {device[0]}")
            raise self._error("an array in host memory, where this executable runs", f"one on {place}; copy it first")
        try:
            return np.from_dlpack(value) if hasattr(value, "__dlpack__") else np.asarray(value)
        except (TypeError, ValueError, RuntimeError, BufferError) as error:
            raise self._error("an array", f"a {type(value).__name__} that cannot be read as one: {error}") from error

    def _check(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        if len(shape) != len(self.shape) or any(
            w is not None and w != n for w, n in zip(self.shape, shape, strict=True)
        ):
            raise self._error(
                f"shape {list(self.shape)}",
                f"shape {list(shape)}; shapes are fixed when the model is compiled (CompileOptions.shapes, --shape)",
            )
        if dtype != self.dtype:
            raise self._error(
                f"element type {self.spec.dtype}",
                f"{dtype}; nothing is cast in silence, so cast it yourself with array.astype('{self.spec.dtype}')",
            )

    def _error(self, expected: str, found: str) -> MlirfuseError:
        return MlirfuseError(f"The {self.what} '{self.spec.name}' should be {expected}; found {found}.")
