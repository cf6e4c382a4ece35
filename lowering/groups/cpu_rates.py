"""What work takes on one core of a CPU, in cycles: register-tiled products, loops over elements, bytes from caches.

A step of k of a register tile of rows x columns accumulators takes the longest of its multiply-adds, its loads and the
latency of one multiply-add. Bytes come at the rate of the smallest cache that holds what they belong to, in addition:
what a core hides of drawing them is in the rates, which were fitted to kernels of MobileNetV2 on an AMD Zen 3. `python
benchmarks/cpu_rates.py` measures single kernels on the CPU at hand, and what rates they would have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

from mlirfuse.device import Device

__all__ = [
    "BLOCK_CYCLES",
    "FMA_LATENCY",
    "FMA_PER_CYCLE",
    "L2_BYTES_PER_CYCLE",
    "L3_BYTES_PER_CYCLE",
    "LEAST_LANES",
    "LOADS_PER_CYCLE",
    "STORE_CYCLES",
    "TILE_CYCLES",
    "cycles_per_second",
    "loop_cycles",
    "product_cycles",
    "register_tiles",
    "step_cycles",
    "stream_rate",
]

FMA_PER_CYCLE = 2  # vectors
LOADS_PER_CYCLE = 1.5  # vectors and spread elements; two at best
FMA_LATENCY = 4
TILE_CYCLES = 3000  # to hand a tile to a thread and enter its function
BLOCK_CYCLES = 12  # to set up a block of rows
STORE_CYCLES = 3  # an accumulator's epilogue
LEAST_LANES = 4
L2_BYTES_PER_CYCLE = 32
MIXED_BYTES_PER_CYCLE = 20  # where the second cache holds most of it
L3_BYTES_PER_CYCLE = 9
TAP_CYCLES = 1.5  # of a vector, for each element that it combines: a load or two, and arithmetic


def cycles_per_second(device: Device) -> float:
    """Cycles a second, from the peak rate: two fused multiply-adds of a vector in each."""
    return device.fp32_flops / (device.multiprocessors * max(1, device.vector_bytes // 4) * 4)


def step_cycles(rows: int, columns: int) -> float:
    """One step of k: rows x columns accumulators, in vectors."""
    return max(rows * columns / FMA_PER_CYCLE, (rows + columns) / LOADS_PER_CYCLE, FMA_LATENCY)


def register_tiles(vectors: int, registers: int) -> Iterator[tuple[int, int]]:
    """Rows and columns that leave room for the columns of W and one spread element of A."""
    for columns in range(1, min(vectors, registers // 2) + 1):
        most = (registers - 1 - columns) // columns
        yield from ((rows, columns) for rows in range(1, most + 1) if rows >= most - 2 or rows == 1)


@lru_cache(maxsize=4096)
def product_cycles(batch: int, m: int, n: int, k: int, device: Device) -> float:
    """`batch` products of m x k and k x n, all of A and W in the first cache."""
    lanes = max(1, device.vector_bytes // 4)
    while lanes > max(LEAST_LANES, n):
        lanes //= 2
    best = math.inf
    for rows, columns in register_tiles(max(1, n // lanes), device.registers_per_thread):
        if rows <= m:
            blocks = -(-m // rows) * -(-n // (columns * lanes))
            block = k * step_cycles(rows, columns) + BLOCK_CYCLES + STORE_CYCLES * rows * columns
            best = min(best, blocks * block)
    return batch * best


def loop_cycles(elements: int, length: int, device: Device) -> float:
    """Elements that each combine `length` others, in vectors."""
    return elements * length * TAP_CYCLES / max(1, device.vector_bytes // 4)


def stream_rate(held: int, device: Device) -> float:
    """Bytes a cycle at which one core draws from the smallest cache that has room for `held` bytes."""
    if held <= device.l2_bytes // 2:
        return L2_BYTES_PER_CYCLE
    if held <= 3 * device.l2_bytes // 2:
        return MIXED_BYTES_PER_CYCLE
    if held <= device.l3_bytes // 2:
        return L3_BYTES_PER_CYCLE
    return device.dram_bandwidth / device.multiprocessors / cycles_per_second(device)
