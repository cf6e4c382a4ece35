"""A stand-in for `cuda.bindings.driver`: device memory is host memory, kernels are Python functions.

Enumerations are those of the real bindings, which import without a driver; and where there is no driver, every
call is made on them too: they convert all arguments before they look for it. Work is recorded in `calls`;
captured work runs when its graph is launched.
"""

import ctypes
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cuda.bindings import driver as real


def _has_no_driver() -> bool:
    try:
        real.cuInit(0)
    except RuntimeError:
        return True
    return False


NO_DRIVER = _has_no_driver()
SUCCESS = real.CUresult.CUDA_SUCCESS
DEVICE_CONTEXT, STREAM, CAPTURE_STREAM = 77, 1001, 1002


def floats(pointer: int, count: int = 4) -> np.ndarray:
    """The floats at an address."""
    return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float)), (count,))


def scale_add(x: int, w: int, y: int) -> None:
    floats(y)[:] = 2 * floats(x) + floats(w)


def square(x: int, y: int) -> None:
    floats(y)[:] = floats(x) ** 2


KERNELS: dict[str, Callable[..., None]] = {"scale_add": scale_add, "square": square}
ARITY = {"scale_add": 3, "square": 2}


class FakeDriver:
    """`fail` maps a function's name to the CUresult it returns."""

    def __init__(self, capability: tuple[int, int] = (9, 0), devices: int = 1, static_shared: int = 0) -> None:
        self.capability = capability
        self.devices = devices
        self.static_shared = static_shared
        self.fail: dict[str, Any] = {}
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.memory: dict[int, np.ndarray] = {}
        self.images: list[bytes] = []
        self.dynamic_limit: dict[str, int] = {}
        self.functions: dict[int, str] = {}
        self.context_depth = 0
        self.capturing: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.clock = 0.0
        self.times: dict[int, float] = {}
        self.next_handle = 5000

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            return getattr(real, name)  # enumerations
        function = getattr(type(self), f"do_{name}")

        def call(*arguments: Any) -> tuple[Any, ...]:
            if NO_DRIVER:
                with pytest.raises(RuntimeError, match="libcuda"):
                    getattr(real, name)(*arguments)
            self.calls.append((name, arguments))
            if name in self.fail:
                return (
                    (self.fail[name], None) if name not in ("cuLaunchKernel", "cuGraphLaunch") else (self.fail[name],)
                )
            needs_context = not re.match(r"cuInit|cuDevice|cuCtx|cuGetError", name)
            assert not needs_context or self.context_depth > 0, f"{name} without a current context"
            made = function(self, *arguments)
            return (SUCCESS,) if made is None else (SUCCESS, made)

        return call

    def names(self) -> list[str]:
        """Functions called so far, in order."""
        return [name for name, _ in self.calls]

    def handle(self) -> int:
        self.next_handle += 1
        return self.next_handle

    def enqueue(self, stream: Any, work: Callable[[], None]) -> None:
        if self.capturing is not None:
            assert stream == CAPTURE_STREAM, "work on another stream during capture"
            self.capturing.append(work)
        else:
            assert stream == STREAM
            work()

    # --- device and context
    def do_cuInit(self, flags: int) -> None: ...

    def do_cuGetErrorString(self, status: Any) -> bytes:
        return b"in the driver's words"

    def do_cuDeviceGetCount(self) -> int:
        return self.devices

    def do_cuDeviceGet(self, ordinal: int) -> int:
        return ordinal

    def do_cuDeviceGetName(self, length: int, device: int) -> bytes:
        return b"Fake GPU".ljust(length, b"\0")

    def do_cuDeviceGetAttribute(self, attribute: Any, device: int) -> int:
        kinds = real.CUdevice_attribute
        return {
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: self.capability[0],
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: self.capability[1],
            kinds.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: 227 * 1024,
        }[attribute]

    def do_cuDevicePrimaryCtxRetain(self, device: int) -> int:
        return DEVICE_CONTEXT

    def do_cuCtxPushCurrent(self, context: int) -> None:
        assert context == DEVICE_CONTEXT
        self.context_depth += 1

    def do_cuCtxPopCurrent(self) -> int:
        self.context_depth -= 1
        return DEVICE_CONTEXT

    # --- memory
    def do_cuMemAlloc(self, size: int) -> Any:
        memory = np.full(size + 256, 0xAB, np.uint8)
        pointer = memory.ctypes.data + -memory.ctypes.data % 256
        self.memory[pointer] = memory
        return real.CUdeviceptr(pointer)

    def do_cuMemFree(self, pointer: int) -> None:
        del self.memory[pointer]

    def do_cuMemAllocHost(self, size: int) -> int:
        return int(self.do_cuMemAlloc(size))

    def do_cuMemFreeHost(self, pointer: int) -> None:
        del self.memory[pointer]

    def do_cuMemcpyHtoD(self, to: int, source: int, size: int) -> None:
        assert self.capturing is None
        ctypes.memmove(to, source, size)

    def do_cuMemcpyDtoH(self, to: int, source: int, size: int) -> None:
        assert self.capturing is None
        ctypes.memmove(to, source, size)

    def copy_async(self, to: int, source: int, size: int, stream: Any) -> None:
        self.enqueue(stream, lambda: ctypes.memmove(to, source, size) and None)

    do_cuMemcpyHtoDAsync = do_cuMemcpyDtoHAsync = do_cuMemcpyDtoDAsync = copy_async

    # --- code
    def do_cuModuleLoadDataEx(self, image: bytes, count: int, options: list[Any], values: list[Any]) -> int:
        assert count == len(options) == len(values)
        assert all(isinstance(option, real.CUjit_option) for option in options)
        self.images.append(image)
        return self.handle()

    def do_cuModuleUnload(self, module: int) -> None: ...

    def do_cuModuleGetFunction(self, module: int, name: bytes) -> int:
        function = self.handle()
        self.functions[function] = name.decode()
        return function

    def do_cuFuncLoad(self, function: int) -> None: ...

    def do_cuFuncGetAttribute(self, attribute: Any, function: int) -> int:
        assert attribute == real.CUfunction_attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES
        return self.static_shared

    def do_cuFuncSetAttribute(self, function: int, attribute: Any, value: int) -> None:
        assert attribute == real.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self.dynamic_limit[self.functions[function]] = value

    def do_cuLaunchKernel(self, handle: int, *arguments: Any) -> None:
        function = self.functions[handle]
        *_, stream, parameters, extra = arguments
        assert extra == 0
        pointers = ctypes.cast(parameters, ctypes.POINTER(ctypes.c_void_p))
        values = [ctypes.c_uint64.from_address(pointers[i]).value for i in range(ARITY[function])]

        def run() -> None:
            self.clock += 1e-3 * ARITY[function]
            KERNELS[function](*values)

        self.enqueue(stream, run)

    # --- streams, graphs, events
    def do_cuStreamCreate(self, flags: int) -> int:
        return {0: STREAM, 1: CAPTURE_STREAM}[flags]

    def do_cuStreamSynchronize(self, stream: int) -> None:
        assert stream == STREAM
        assert self.capturing is None, "synchronized during capture"

    def do_cuStreamBeginCapture(self, stream: int, mode: Any) -> None:
        assert stream == CAPTURE_STREAM
        assert isinstance(mode, real.CUstreamCaptureMode)
        self.capturing = []

    def do_cuStreamEndCapture(self, stream: int) -> int:
        assert self.capturing is not None
        graph = self.handle()
        self.graphs[graph], self.capturing = self.capturing, None
        return graph

    def do_cuGraphInstantiate(self, graph: int, flags: int) -> int:
        made = self.handle()
        self.graphs[made] = self.graphs[graph]
        return made

    def do_cuGraphDestroy(self, graph: int) -> None:
        del self.graphs[graph]

    def do_cuGraphExecDestroy(self, graph: int) -> None:
        del self.graphs[graph]

    def do_cuGraphUpload(self, graph: int, stream: int) -> None: ...

    def do_cuGraphLaunch(self, graph: int, stream: int) -> None:
        assert stream == STREAM
        for work in self.graphs[graph]:
            work()

    def do_cuEventCreate(self, flags: int) -> int:
        return self.handle()

    def do_cuEventDestroy(self, event: int) -> None: ...

    def do_cuEventRecord(self, event: int, stream: int) -> None:
        assert stream == STREAM
        self.times[event] = self.clock

    def do_cuEventElapsedTime(self, start: int, stop: int) -> float:
        return (self.times[stop] - self.times[start]) * 1e3
