"""An output that stays on the GPU."""

import math
from typing import Any

import numpy as np

from mlirfuse.artifact.dtypes import element_bytes, numpy_dtype
from mlirfuse.runtime.cuda.context import Context, DeviceBuffer
from mlirfuse.runtime.cuda.dlpack import CUDA, make_capsule

__all__ = ["DeviceArray"]


class DeviceArray:
    """A dense array in GPU memory; give it to any library through `__dlpack__`, or read it with `numpy()`."""

    def __init__(self, context: Context, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = dtype
        self.nbytes = math.prod(shape) * element_bytes(dtype)
        self._context = context
        self._buffer = DeviceBuffer(context, self.nbytes)

    @property
    def pointer(self) -> int:
        """The device address."""
        return self._buffer.pointer

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy in host memory."""
        made = np.empty(self.shape, numpy_dtype(self.dtype))
        if self.nbytes:
            with self._context.current():
                self._context.driver.call("cuMemcpyDtoH", made.ctypes.data, self.pointer, self.nbytes)
        return made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("an array on the GPU cannot be read without a copy")
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self._context.ordinal

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule that shares this memory. The array is complete, so no stream has to wait."""
        if dl_device not in (None, self.__dlpack_device__()) or copy:
            raise BufferError("a DeviceArray is exported from its own device and without a copy only")
        return make_capsule(self.pointer, self.shape, self.dtype, self.__dlpack_device__(), self._buffer)

    def __repr__(self) -> str:
        return f"<DeviceArray {self.dtype}{list(self.shape)} on cuda:{self._context.ordinal}>"
