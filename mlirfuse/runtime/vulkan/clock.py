"""The GPU's own clock: a timestamp before and after each launch of an inference."""

from __future__ import annotations

from typing import Any

import numpy as np
import wgpu
from wgpu.backends.wgpu_native import lib

__all__ = ["Clock"]

_FEATURE = "timestamp-query"
_MOST = 4096  # timestamps of one set (W3C WebGPU, "createQuerySet")
_TICK = np.dtype(np.uint64)


class Clock:
    """Times of `launches` launches, numbered in the order of the program."""

    def __init__(self, device: Any, launches: int) -> None:
        self._device = device
        self._launches = launches
        self._period = float(lib.wgpuQueueGetTimestampPeriod(device.queue._internal))  # nanoseconds of a tick
        counts = [min(_MOST, 2 * launches - first) for first in range(0, 2 * launches, _MOST)]
        self._sets = [device.create_query_set(type="timestamp", count=count) for count in counts]
        self._ticks = device.create_buffer(
            size=2 * launches * _TICK.itemsize, usage=wgpu.BufferUsage.QUERY_RESOLVE | wgpu.BufferUsage.COPY_SRC
        )

    @classmethod
    def of(cls, device: Any, launches: int) -> Clock | None:
        """The clock of a device; None where it has none, or nothing is launched."""
        return cls(device, launches) if launches and _FEATURE in device.features else None

    def around(self, launch: int) -> dict[str, Any]:
        """What the pass of a launch writes: when it begins and when it ends."""
        number, first = divmod(2 * launch, _MOST)
        return {
            "query_set": self._sets[number],
            "beginning_of_pass_write_index": first,
            "end_of_pass_write_index": first + 1,
        }

    def read(self) -> np.ndarray[Any, Any]:
        """Seconds on the clock at the beginning and the end of each launch, [launches, 2], when all are done."""
        encoder = self._device.create_command_encoder()
        for number, queries in enumerate(self._sets):
            encoder.resolve_query_set(queries, 0, queries.count, self._ticks, number * _MOST * _TICK.itemsize)
        self._device.queue.submit([encoder.finish()])
        ticks = np.frombuffer(self._device.queue.read_buffer(self._ticks), _TICK).reshape(self._launches, 2)
        return (ticks - ticks.min()).astype(np.float64) * (self._period * 1e-9)
