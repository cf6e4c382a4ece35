"""Link a host program's objects into this process and run its native steps.

Needs llvmlite and numpy; neither MLIR nor the compiler.
"""

import ctypes
import functools
import platform
import threading
from collections.abc import Mapping, Sequence

import llvmlite.binding as llvm
import numpy as np

from mlirfuse.device import usable_cores
from mlirfuse.errors import ArtifactError
from mlirfuse.runtime.host_threads import HostThreads

__all__ = ["HostLibrary"]

_ALIGNMENT = 64
_EXPORTS = ("network_state_bytes", "network_initialise", "network_run", "network_worker", "network_stop")


@functools.cache
def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def missing_features(features: Sequence[str]) -> list[str]:
    """Those of LLVM's CPU feature names that this machine lacks."""
    present = llvm.get_host_cpu_features()
    return [f for f in features if not present.get(f, False)]


class HostLibrary:
    """The linked native steps of one program, with `threads` threads, the caller among them.

    objects    object code by name; the one that exports network_run and every kernel.
    cpu, features   what the code was made for and needs; ArtifactError if this CPU lacks one.
    slots      how many base pointers `run_segment` takes.

    One segment runs at a time: a second caller waits.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes | memoryview],
        features: Sequence[str],
        slots: int,
        threads: int | None = None,
        cpu: str = "",
    ) -> None:
        lacking = missing_features(features)
        if lacking:
            raise ArtifactError(
                f"The artifact's code is for a {cpu or platform.machine()} CPU with {', '.join(lacking)}, which this "
                f"machine ({llvm.get_host_cpu_name()}) lacks. Compile the model on this machine, or for a CPU level "
                "that both have."
            )
        self._addresses = self._link(objects)
        self._initialise_state = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32)(
            self._addresses["network_initialise"]
        )
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)(
            self._addresses["network_run"]
        )
        self._stop_native = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._addresses["network_stop"])
        size = ctypes.c_int64.from_address(self._addresses["network_state_bytes"]).value
        self._state_memory = np.zeros(size + _ALIGNMENT, np.uint8)
        self._state = -(-self._state_memory.ctypes.data // _ALIGNMENT) * _ALIGNMENT
        self._state_bytes = size
        self._buffers = np.zeros(max(slots, 1), np.uintp)
        self._buffers_address = self._buffers.ctypes.data
        self._pool: HostThreads | None = None
        self._turn = threading.Lock()
        self._threads = 0
        self.threads = usable_cores() if threads is None else threads

    def _link(self, objects: Mapping[str, bytes | memoryview]) -> dict[str, int]:
        _initialise()
        self._jit = llvm.create_lljit_compiler(llvm.Target.from_default_triple().create_target_machine(reloc="pic"))
        builder = llvm.JITLibraryBuilder().add_current_process()
        for data in objects.values():
            builder.add_object_img(bytes(data))
        for name in _EXPORTS:
            builder.export_symbol(name)
        try:
            self._code = builder.link(self._jit, "network")
            return {name: self._code[name] for name in _EXPORTS}
        except (RuntimeError, KeyError) as error:
            raise ArtifactError(f"The artifact's host code does not link: {error}. Compile the model again.") from error

    @property
    def threads(self) -> int:
        return self._threads

    @threads.setter
    def threads(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"a network needs at least one thread; asked for {count}")
        with self._turn:
            if count != self._threads:
                self._stop_threads()
                self._threads = count

    def _stop_threads(self) -> None:
        if self._pool is not None:
            self._pool.stop()
            self._pool = None

    def _start_threads(self) -> None:
        """Fresh state and workers; also after a fork, where the parent's do not exist."""
        ctypes.memset(self._state, 0, self._state_bytes)
        self._initialise_state(self._state, self._threads)
        # the callback keeps what the threads run on alive until they have returned
        alive = (self._state_memory, self._code, self._jit, self._stop_native)

        def stop_workers(state: int = self._state, alive: tuple = alive) -> None:
            alive[3](state)

        self._pool = HostThreads(self._threads - 1, self._addresses["network_worker"], self._state, stop_workers)

    def run_segment(self, buffers: Sequence[int], begin: int, end: int) -> None:
        """Run native steps [begin, end) on base addresses, one per slot; returns when they are complete."""
        with self._turn:
            if self._pool is None or not self._pool.alive:
                self._start_threads()
            self._buffers[: len(buffers)] = buffers
            self._run(self._state, self._buffers_address, begin, end)

    def close(self) -> None:
        """Stop the threads; the next `run_segment` would start them again."""
        with self._turn:
            self._stop_threads()
