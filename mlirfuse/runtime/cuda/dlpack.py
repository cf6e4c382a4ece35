"""DLPack capsules through ctypes: how arrays on a GPU change hands between libraries without a copy.

The unversioned protocol (DLManagedTensor, capsule "dltensor"), which every library speaks.
"""

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlirfuse.errors import MlirfuseError

__all__ = ["Borrowed", "borrow", "make_capsule"]

CUDA, CUDA_MANAGED = 2, 13
# (DLDataTypeCode, bits) by element type
_CODES = {
    **{f"int{bits}": (0, bits) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (1, bits) for bits in (8, 16, 32, 64)},
    **{f"float{bits}": (2, bits) for bits in (16, 32, 64)},
    "bfloat16": (4, 16),
    "complex64": (5, 64),
    "bool": (6, 8),
    "float8_e4m3fn": (10, 8),
    "float8_e5m2": (12, 8),
}
_NAMES = {code: name for name, code in _CODES.items()}


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _DLManagedTensor(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_DLManagedTensor))
_DLManagedTensor._fields_ = [("tensor", _DLTensor), ("manager_ctx", ctypes.c_void_p), ("deleter", _Deleter)]

# Own prototypes: the functions of ctypes.pythonapi are shared by the whole process, and so are their argtypes.
_api = ctypes.pythonapi
_CapsuleDestructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
_capsule_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _CapsuleDestructor)(
    ("PyCapsule_New", _api)
)
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
_capsule_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", _api))
_capsule_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
# The destructor sees a capsule that is being freed: no reference to it may be made, so it comes as an address.
_address_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_address_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))

_NEW, _USED = b"dltensor", b"used_dltensor"  # PyCapsule keeps the pointer, so these live as long as the module
_exported: dict[int, tuple[Any, ...]] = {}  # what each exported tensor keeps alive, by its address


def make_capsule(pointer: int, shape: tuple[int, ...], dtype: str, device: tuple[int, int], owner: object) -> Any:
    """A capsule for the dense array at `pointer`; `owner` is kept alive until the consumer is done with it."""
    code, bits = _CODES[dtype]
    dimensions = (ctypes.c_int64 * len(shape))(*shape)
    strides = (ctypes.c_int64 * len(shape))(*(math.prod(shape[axis + 1 :]) for axis in range(len(shape))))
    as_pointer = ctypes.POINTER(ctypes.c_int64)
    managed = _DLManagedTensor()
    managed.tensor = _DLTensor(
        pointer,
        device[0],
        device[1],
        len(shape),
        code,
        bits,
        1,
        ctypes.cast(dimensions, as_pointer),
        ctypes.cast(strides, as_pointer),
        0,
    )
    managed.deleter = _delete_exported
    address = ctypes.addressof(managed)
    _exported[address] = (managed, dimensions, strides, owner)
    return _capsule_new(address, _NEW, _destroy_capsule)


@_Deleter
def _delete_exported(managed: Any) -> None:
    _exported.pop(ctypes.addressof(managed.contents), None)


@_CapsuleDestructor
def _destroy_capsule(capsule: int) -> None:
    """A capsule that nobody consumed still owns its tensor."""
    if _address_is_valid(capsule, _NEW):
        _exported.pop(_address_pointer(capsule, _NEW), None)


@dataclass(eq=False)
class Borrowed:
    """Another library's array, held until `release` or until this object is gone."""

    pointer: int
    shape: tuple[int, ...]
    dtype: str
    is_dense: bool
    device: tuple[int, int]
    _release: Callable[[], None] | None

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()

    def __del__(self) -> None:
        self.release()


def borrow(array: Any, stream: int) -> Borrowed:
    """Take the array by DLPack, its pending work ordered before whatever `stream` does next."""
    capsule = array.__dlpack__(stream=stream)
    if not _capsule_is_valid(capsule, _NEW):
        raise MlirfuseError(
            f"A {type(array).__name__} gave a DLPack capsule that is used already or of another version."
        )
    address = _capsule_pointer(capsule, _NEW)
    managed = _DLManagedTensor.from_address(address)
    _capsule_rename(capsule, _USED)
    tensor = managed.tensor
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    dense = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    strides = tuple(tensor.strides[axis] for axis in range(tensor.ndim)) if tensor.strides else dense
    is_dense = all(n == 1 or s == d for n, s, d in zip(shape, strides, dense, strict=True)) or 0 in shape
    name = _NAMES.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None

    def release() -> None:
        deleter: Any = managed.deleter
        if deleter:
            deleter(ctypes.byref(managed))

    return Borrowed(
        (tensor.data or 0) + tensor.byte_offset,
        shape,
        name or f"DLPack type {tensor.code}, {tensor.bits} bits, {tensor.lanes} lanes",
        is_dense,
        (tensor.device_type, tensor.device_id),
        release,
    )
