"""How many blocks of a kernel a multiprocessor holds at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlirfuse.device.facts import Device

__all__ = ["Occupancy", "occupancy"]


@dataclass(frozen=True)
class Occupancy:
    """`blocks` of a kernel on one multiprocessor, the `share` of its threads that they are, and what limits them.

    `limit` is "threads", "blocks", "registers" or "shared memory": the first that leaves room for no further block.
    """

    blocks: int
    share: float
    limit: str


def occupancy(device: Device, threads: int, shared_bytes: int, registers: int | None = None) -> Occupancy | None:
    """Of blocks of `threads` that use `shared_bytes` and, each thread, `registers` (None: not known, no limit).

    Resources are given out as the CUDA Programming Guide says: registers to a warp at a time in whole units, shared
    memory to a block with what the driver reserves. None for a device without blocks of threads.
    """
    if not device.max_threads_per_sm:
        return None
    warps = math.ceil(threads / device.warp_size)
    room = {
        "threads": device.max_threads_per_sm // device.warp_size // warps,
        "blocks": device.max_blocks_per_sm,
    }
    if shared_bytes:
        room["shared memory"] = device.shared_bytes_per_sm // (shared_bytes + device.shared_bytes_reserved)
    if registers:
        of_warp = math.ceil(registers * device.warp_size / device.register_unit) * device.register_unit
        room["registers"] = device.registers_per_sm // of_warp // warps
    limit = min(room, key=lambda name: room[name])
    blocks = room[limit]
    return Occupancy(blocks, blocks * warps * device.warp_size / device.max_threads_per_sm, limit)
