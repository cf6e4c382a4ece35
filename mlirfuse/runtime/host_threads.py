"""The worker threads of a native network: made by pthread_create, they never enter Python."""

import ctypes
import os
import signal
import weakref
from collections.abc import Callable

__all__ = ["HostThreads"]

_libc = ctypes.CDLL(None)
_libc.pthread_create.argtypes = [ctypes.POINTER(ctypes.c_ulong), ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
_libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]


class HostThreads:
    """`count` threads that run the native function at address `worker` on `state`, until `stop`.

    `stop_workers()` has to make them return. They are stopped with this object or the interpreter; in
    a forked child they do not exist, and `alive` is False.
    """

    def __init__(self, count: int, worker: int, state: int, stop_workers: Callable[[], None]) -> None:
        self._process = os.getpid()
        self._threads: list[int] = []
        # Python's signal handlers belong on Python's threads
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            for _ in range(count):
                handle = ctypes.c_ulong()
                error = _libc.pthread_create(ctypes.byref(handle), None, worker, state)
                if error:
                    raise OSError(error, f"cannot start a worker thread: {os.strerror(error)}")
                self._threads.append(handle.value)
        except OSError:
            _stop(self._process, self._threads, stop_workers)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._finalizer = weakref.finalize(self, _stop, self._process, self._threads, stop_workers)

    @property
    def alive(self) -> bool:
        return self._finalizer.alive and self._process == os.getpid()

    def stop(self) -> None:
        """Make the threads return and wait for them; a second call does nothing."""
        self._finalizer()


def _stop(process: int, threads: list[int], stop_workers: Callable[[], None]) -> None:
    if os.getpid() != process or not threads:
        return
    stop_workers()
    for thread in threads:
        _libc.pthread_join(thread, None)
    threads.clear()
