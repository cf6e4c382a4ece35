"""One GPU of this process: its context, stream and memory."""

import contextlib
import ctypes
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.runtime.cuda.driver import Driver

__all__ = ["Context", "DeviceBuffer", "PinnedBuffer"]


class Context:
    """The primary context of one GPU, shared with other CUDA libraries in the process.

    It is retained for the life of the process. `stream` takes all work; it waits for the legacy default
    stream and makes that wait, so that arrays of libraries which use it are ordered without asking.
    `capture_stream` only records graphs: being non-blocking, it does not disturb anyone.
    """

    def __init__(self, ordinal: int, driver: Driver) -> None:
        self.driver = driver
        self.ordinal = ordinal
        count = driver.call("cuDeviceGetCount")
        if not isinstance(ordinal, int) or isinstance(ordinal, bool) or not 0 <= ordinal < count:
            raise UnsupportedTarget(
                f"There is no GPU {ordinal!r}: the driver sees {count}, numbered from 0. Check `nvidia-smi -L` and "
                f"CUDA_VISIBLE_DEVICES."
            )
        device = driver.call("cuDeviceGet", ordinal)
        self.name = driver.call("cuDeviceGetName", 128, device).split(b"\0")[0].decode(errors="replace")
        attributes = driver.api.CUdevice_attribute
        self.capability = tuple(
            driver.call("cuDeviceGetAttribute", getattr(attributes, f"CU_DEVICE_ATTRIBUTE_{name}"), device)
            for name in ("COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR")
        )
        self.max_shared_bytes = driver.call(
            "cuDeviceGetAttribute", attributes.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device
        )
        self._handle = driver.call("cuDevicePrimaryCtxRetain", device)
        with self.current():
            self.stream = driver.call("cuStreamCreate", int(driver.api.CUstream_flags.CU_STREAM_DEFAULT))
            self.capture_stream = driver.call("cuStreamCreate", int(driver.api.CUstream_flags.CU_STREAM_NON_BLOCKING))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """The context is current for this thread inside the block; what was current before is so again after it."""
        self.driver.call("cuCtxPushCurrent", self._handle)
        try:
            yield
        finally:
            self.driver.call("cuCtxPopCurrent")

    def synchronize(self) -> None:
        """Wait until all work is done; an error of any launch before surfaces here."""
        self.driver.call("cuStreamSynchronize", self.stream)

    def on_collect(self, owner: Any, function: str, *arguments: Any) -> None:
        """Call the driver's `function` once `owner` is gone; at exit, when the driver may be gone first, never mind."""

        def release() -> None:
            with contextlib.suppress(MlirfuseError, RuntimeError), self.current():
                self.driver.call(function, *arguments)

        weakref.finalize(owner, release).atexit = False


class DeviceBuffer:
    """`size` bytes of GPU memory at `pointer`, freed with the object."""

    def __init__(self, context: Context, size: int) -> None:
        self.context = context
        self.size = size
        self.pointer = int(context.driver.call("cuMemAlloc", max(size, 1)))
        context.on_collect(self, "cuMemFree", self.pointer)


class PinnedBuffer:
    """Page-locked host memory: what graphs copy to and from. `array` is its bytes."""

    def __init__(self, context: Context, size: int) -> None:
        self.size = size
        self.pointer = int(context.driver.call("cuMemAllocHost", max(size, 1)))
        view: Any = (ctypes.c_uint8 * max(size, 1)).from_address(self.pointer)
        self.array = np.frombuffer(view, np.uint8)[:size]
        context.on_collect(self, "cuMemFreeHost", self.pointer)
