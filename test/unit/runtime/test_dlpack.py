"""Capsules exchanged with NumPy, whose DLPack is somebody else's."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from mlirfuse.errors import MlirfuseError
from mlirfuse.runtime.cuda import dlpack

CPU = (1, 0)


class Memory:
    """Owns an array and exports it through our capsules."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU

    def __dlpack__(self, **_: Any) -> Any:
        return dlpack.make_capsule(self.array.ctypes.data, self.array.shape, self.array.dtype.name, CPU, self)


class Legacy:
    """Exports NumPy's capsule the way a CUDA library would, with a stream."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, *, stream: int) -> Any:
        return self.array.__dlpack__()


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "int8", "uint8", "int32", "int64", "bool", "complex64"]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 3)])
def test_numpy_reads_what_we_export(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    read = np.from_dlpack(Memory(values))
    np.testing.assert_array_equal(read, values)
    assert (read.dtype, read.shape) == (values.dtype, values.shape)
    assert read.size == 0 or np.shares_memory(read, values)


def test_the_owner_lives_as_long_as_the_consumer() -> None:
    memory = Memory(np.arange(4.0))
    gone = weakref.ref(memory)
    read = np.from_dlpack(memory)
    del memory
    gc.collect()
    assert gone() is not None
    np.testing.assert_array_equal(read, np.arange(4.0))
    del read
    gc.collect()
    assert gone() is None
    assert not dlpack._exported


def test_a_capsule_that_nobody_takes_frees_its_tensor() -> None:
    memory = Memory(np.arange(4.0))
    capsule = memory.__dlpack__()
    assert len(dlpack._exported) == 1
    del capsule
    assert not dlpack._exported


@pytest.mark.parametrize("array", [np.arange(6, dtype=np.int64).reshape(2, 3), np.float32([[1.5]]), np.zeros((0, 2))])
def test_we_read_what_numpy_exports(array: np.ndarray) -> None:
    found = dlpack.borrow(Legacy(array), 0)
    assert (found.shape, found.dtype, found.device) == (array.shape, array.dtype.name, CPU)
    assert found.is_dense
    assert array.size == 0 or found.pointer == array.ctypes.data


def test_strides_and_offsets_are_seen() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    view = dlpack.borrow(Legacy(array[1:]), 0)
    assert view.is_dense
    assert view.pointer == array.ctypes.data + 16
    assert not dlpack.borrow(Legacy(array.T), 0).is_dense
    assert not dlpack.borrow(Legacy(array[:, :2]), 0).is_dense
    assert dlpack.borrow(Legacy(array[:, None, :]), 0).is_dense


def test_a_borrowed_array_is_held_until_released() -> None:
    class Watched(np.ndarray):
        pass

    array = np.arange(4.0).view(Watched)
    gone = weakref.ref(array)
    found = dlpack.borrow(Legacy(array), 0)
    del array
    gc.collect()
    assert gone() is not None
    found.release()
    found.release()
    gc.collect()
    assert gone() is None


def test_our_own_export_can_be_borrowed() -> None:
    memory = Memory(np.arange(4, dtype=np.float32))
    found = dlpack.borrow(memory, 0)
    assert found.pointer == memory.array.ctypes.data
    del found
    gc.collect()
    assert not dlpack._exported


def test_a_used_capsule_is_refused() -> None:
    capsule = np.arange(4.0).__dlpack__()

    class Twice:
        def __dlpack__(self, *, stream: int) -> Any:
            return capsule

    held = dlpack.borrow(Twice(), 0)
    with pytest.raises(MlirfuseError, match="used already"):
        dlpack.borrow(Twice(), 0)
    held.release()
