"""What a device can do, as data: the limits a schedule must respect and the rates a cost model divides by.

Two tables describe NVIDIA GPUs. *Limits* belong to a compute capability (CUDA C++ Programming
Guide, "Technical Specifications per Compute Capability"); *products* add what a data sheet says of
one board. `device_for` joins them. The host CPU is read from the machine (`host_device`).
"""

import functools
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlirfuse.errors import UnsupportedTarget

__all__ = [
    "ANY_CPU",
    "CHIPS",
    "GRAPHICS",
    "PORTABLE",
    "PRODUCTS",
    "PTX_CHIPS",
    "Device",
    "device_for",
    "host_device",
    "planning_device",
    "product",
    "usable_cores",
]

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class Device:
    """Facts about one GPU or CPU. Sizes are bytes, rates are per second, times are seconds.

    A field that has no meaning for the kind of device is 0 (a CPU has no shared memory). On a CPU
    a "multiprocessor" is a core that this process may use, and the registers are vector registers.
    """

    name: str
    kind: str  # "gpu" or "cpu"
    chip: str  # "sm_90", "x86_64", ...
    multiprocessors: int
    dram_bandwidth: float
    l2_bytes: int  # the last cache shared by all GPU multiprocessors; a CPU core's own second level
    fp32_flops: float  # a fused multiply-add counts two
    launch_seconds: float  # from one kernel to the next in a replayed graph, or one parallel region on the CPU
    registers_per_thread: int
    # GPU limits
    max_threads_per_block: int = 0
    max_threads_per_sm: int = 0
    max_blocks_per_sm: int = 0
    warp_size: int = 0
    shared_bytes_per_block: int = 0  # with the opt-in for more than 48 KiB
    shared_bytes_per_sm: int = 0
    shared_bytes_reserved: int = 0  # taken by the driver for each resident block
    registers_per_sm: int = 0
    register_unit: int = 0  # registers are given to a warp in multiples of this
    tf32_flops: float = 0.0  # dense tensor cores, fp32 accumulation; 0 where there are none
    fp16_flops: float = 0.0
    bf16_flops: float = 0.0
    # CPU facts
    vector_bytes: int = 0
    l1_bytes: int = 0
    l3_bytes: int = 0
    features: frozenset[str] = field(default_factory=frozenset)

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability (9, 0) of a GPU; (0, 0) for a CPU."""
        found = re.fullmatch(r"sm_(\d+)(\d)[af]?", self.chip)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def has_tensor_cores(self) -> bool:
        """Whether tf32 contractions have hardware of their own (compute capability 8.0 and later)."""
        return self.tf32_flops > 0

    @property
    def machine_balance(self) -> float:
        """fp32 operations that take as long as one byte from memory."""
        return self.fp32_flops / self.dram_bandwidth

    def flops(self, precision: str) -> float:
        """The peak rate of a contraction in "fp32", "tf32", "fp16" or "bf16"; fp32's where the type has no unit."""
        rates = {"tf32": self.tf32_flops, "fp16": self.fp16_flops, "bf16": self.bf16_flops}
        return rates.get(precision, 0.0) or self.fp32_flops


# --- GPU limits -----------------------------------------------------------------------------------
# CUDA C++ Programming Guide 13, "Technical Specifications per Compute Capability". The same for all
# capabilities listed there: 1024 threads a block, warps of 32, 65536 registers a multiprocessor
# in units of 256 a warp, at most 255 a thread; from 8.0 on the driver keeps 1 KiB of shared memory a block.
_EVERY_CAPABILITY: Mapping[str, int] = {
    "max_threads_per_block": 1024,
    "warp_size": 32,
    "registers_per_sm": 65536,
    "registers_per_thread": 255,
    "register_unit": 256,
}
_LIMITS: Mapping[str, Mapping[str, int]] = {
    # 48 KiB a block: there is no opt-in for more before 7.0
    "sm_61": {
        "max_threads_per_sm": 2048,
        "max_blocks_per_sm": 32,
        "shared_bytes_per_sm": 96 * KIB,
        "shared_bytes_per_block": 48 * KIB,
        "shared_bytes_reserved": 0,
    },
    "sm_80": {
        "max_threads_per_sm": 2048,
        "max_blocks_per_sm": 32,
        "shared_bytes_per_sm": 164 * KIB,
        "shared_bytes_per_block": 163 * KIB,
        "shared_bytes_reserved": KIB,
    },
    "sm_86": {
        "max_threads_per_sm": 1536,
        "max_blocks_per_sm": 16,
        "shared_bytes_per_sm": 100 * KIB,
        "shared_bytes_per_block": 99 * KIB,
        "shared_bytes_reserved": KIB,
    },
    "sm_89": {
        "max_threads_per_sm": 1536,
        "max_blocks_per_sm": 24,
        "shared_bytes_per_sm": 100 * KIB,
        "shared_bytes_per_block": 99 * KIB,
        "shared_bytes_reserved": KIB,
    },
    "sm_90": {
        "max_threads_per_sm": 2048,
        "max_blocks_per_sm": 32,
        "shared_bytes_per_sm": 228 * KIB,
        "shared_bytes_per_block": 227 * KIB,
        "shared_bytes_reserved": KIB,
    },
    "sm_120": {
        "max_threads_per_sm": 1536,
        "max_blocks_per_sm": 24,
        "shared_bytes_per_sm": 100 * KIB,
        "shared_bytes_per_block": 99 * KIB,
        "shared_bytes_reserved": KIB,
    },
}

# Not in any data sheet: NVIDIA's "Getting Started with CUDA Graphs" (technical blog, 2019) measures 0.5 us
# from kernel to kernel of a graph on a V100; the drain and refill of the grid come on top. An estimate.
_GRAPH_LAUNCH_SECONDS = 1.5e-6


def _gpu(chip: str, name: str, **facts: Any) -> Device:
    limits: dict[str, Any] = {**_EVERY_CAPABILITY, **_LIMITS[chip]}
    return Device(name=name, kind="gpu", chip=chip, launch_seconds=_GRAPH_LAUNCH_SECONDS, **limits, **facts)


PRODUCTS: Mapping[str, Device] = {
    # NVIDIA TITAN Xp product page: 3840 cores at 1582 MHz, 547.7 GB/s; GP102: 30 multiprocessors, 3 MiB L2
    "titan-xp": _gpu(
        "sm_61", "NVIDIA TITAN Xp", multiprocessors=30, dram_bandwidth=547.7e9, l2_bytes=3 * MIB, fp32_flops=12.15e12
    ),
    # NVIDIA A100 80GB data sheet (SXM): 19.5 TFLOPS fp32, 156 tf32, 312 fp16/bf16, 2039 GB/s;
    # GA100 white paper: 108 multiprocessors, 40 MiB L2
    "a100": _gpu(
        "sm_80",
        "NVIDIA A100-SXM4-80GB",
        multiprocessors=108,
        dram_bandwidth=2039e9,
        l2_bytes=40 * MIB,
        fp32_flops=19.5e12,
        tf32_flops=156e12,
        fp16_flops=312e12,
        bf16_flops=312e12,
    ),
    # GA102 white paper, GeForce RTX 3090: 82 multiprocessors, 35.6 TFLOPS fp32 and tf32, 71 fp16 with
    # fp32 accumulation, 936 GB/s, 6 MiB L2
    "rtx3090": _gpu(
        "sm_86",
        "NVIDIA GeForce RTX 3090",
        multiprocessors=82,
        dram_bandwidth=936e9,
        l2_bytes=6 * MIB,
        fp32_flops=35.6e12,
        tf32_flops=35.6e12,
        fp16_flops=71e12,
        bf16_flops=71e12,
    ),
    # Ada white paper, GeForce RTX 4090: 128 multiprocessors, 82.6 TFLOPS fp32 and tf32, 165.2 fp16 with
    # fp32 accumulation, 1008 GB/s, 72 MiB L2
    "rtx4090": _gpu(
        "sm_89",
        "NVIDIA GeForce RTX 4090",
        multiprocessors=128,
        dram_bandwidth=1008e9,
        l2_bytes=72 * MIB,
        fp32_flops=82.6e12,
        tf32_flops=82.6e12,
        fp16_flops=165.2e12,
        bf16_flops=165.2e12,
    ),
    # NVIDIA H100 data sheet (SXM; sparse figures halved): 67 TFLOPS fp32, 494.5 tf32, 989.5 fp16/bf16,
    # 3.35 TB/s; Hopper white paper: 132 multiprocessors, 50 MiB L2
    "h100": _gpu(
        "sm_90",
        "NVIDIA H100 80GB HBM3",
        multiprocessors=132,
        dram_bandwidth=3.35e12,
        l2_bytes=50 * MIB,
        fp32_flops=67e12,
        tf32_flops=494.5e12,
        fp16_flops=989.5e12,
        bf16_flops=989.5e12,
    ),
    # NVIDIA H200 data sheet (SXM): as H100, with 4.8 TB/s
    "h200": _gpu(
        "sm_90",
        "NVIDIA H200",
        multiprocessors=132,
        dram_bandwidth=4.8e12,
        l2_bytes=50 * MIB,
        fp32_flops=67e12,
        tf32_flops=494.5e12,
        fp16_flops=989.5e12,
        bf16_flops=989.5e12,
    ),
    # Blackwell GeForce white paper, RTX 5090: 170 multiprocessors, 104.8 TFLOPS fp32 and tf32, 209.5 fp16
    # with fp32 accumulation, 1792 GB/s, 96 MiB L2
    "rtx5090": _gpu(
        "sm_120",
        "NVIDIA GeForce RTX 5090",
        multiprocessors=170,
        dram_bandwidth=1792e9,
        l2_bytes=96 * MIB,
        fp32_flops=104.8e12,
        tf32_flops=104.8e12,
        fp16_flops=209.5e12,
        bf16_flops=209.5e12,
    ),
}

# The product that stands for a chip when only the chip is known.
CHIPS: Mapping[str, str] = {
    "sm_61": "titan-xp",
    "sm_80": "a100",
    "sm_86": "rtx3090",
    "sm_89": "rtx4090",
    "sm_90": "h100",
    "sm_120": "rtx5090",
}
# Those that PTX is made for: before compute capability 7.5 there are plans (the DNNFusion paper's GPU), but no code.
PTX_CHIPS = tuple(chip for chip, name in CHIPS.items() if PRODUCTS[name].capability >= (7, 5))

# --- GPUs of every vendor, through Vulkan ---------------------------------------------------------
# An estimate: a dispatch with its memory barrier in a recorded command buffer.
_DISPATCH_SECONDS = 5e-6


def _graphics(chip: str, name: str, *, workgroup_bytes: int, max_threads_per_block: int, **facts: Any) -> Device:
    """A GPU whose blocks have `workgroup_bytes` of memory; in a word for each thread of it, lanes exchange values."""
    exchange = 4 * max_threads_per_block
    return Device(
        name=name,
        kind="gpu",
        chip=chip,
        launch_seconds=_DISPATCH_SECONDS,
        register_unit=1,
        max_threads_per_block=max_threads_per_block,
        shared_bytes_per_block=workgroup_bytes - exchange,
        shared_bytes_reserved=exchange,
        **facts,
    )


PORTABLE = "portable"
GRAPHICS: Mapping[str, Device] = {
    # The limits that WebGPU promises of every device (W3C WebGPU, "Limits"); the rates of a small integrated GPU. No
    # number of registers is promised; assumed are Intel's 128.
    PORTABLE: _graphics(
        PORTABLE,
        "any GPU with Vulkan",
        multiprocessors=8,
        dram_bandwidth=50e9,
        l2_bytes=MIB,
        fp32_flops=1e12,
        registers_per_thread=128,
        max_threads_per_block=256,
        max_threads_per_sm=1024,
        max_blocks_per_sm=16,
        warp_size=32,
        workgroup_bytes=16 * KIB,
        shared_bytes_per_sm=32 * KIB,
        registers_per_sm=65536,
    ),
    # Intel's Xe-LP API developer guide: 6 dual subslices of 16 units with 7 threads each, 128 registers of 32 bytes a
    # thread, 64 KiB of local memory a work-group, L3 of 3.75 MiB; 96 units at 1.35 GHz; LPDDR4x-4266
    "intel-xe-lp": _graphics(
        "intel-xe-lp",
        "Intel Iris Xe (Xe-LP, 96 units)",
        multiprocessors=6,
        dram_bandwidth=68.2e9,
        l2_bytes=3840 * KIB,
        fp32_flops=2.07e12,
        registers_per_thread=128,
        max_threads_per_block=1024,
        max_threads_per_sm=1792,
        max_blocks_per_sm=16,
        warp_size=32,
        workgroup_bytes=64 * KIB,
        shared_bytes_per_sm=128 * KIB,
        registers_per_sm=114688,
    ),
    # AnandTech, "Arm Announces New Mali-G710" (2021): 64 fused multiply-adds a core and cycle (G77's 32, doubled); 10
    # cores at 850 MHz. Assumed, as of earlier Mali: 1024 threads of 64 registers a core, 32 KiB of workgroup memory,
    # 1 MiB of L2, LPDDR5-6400 on 64 bits
    "mali-g710": _graphics(
        "mali-g710",
        "Arm Mali-G710 MP10",
        multiprocessors=10,
        dram_bandwidth=51.2e9,
        l2_bytes=MIB,
        fp32_flops=1.09e12,
        registers_per_thread=64,
        max_threads_per_block=512,
        max_threads_per_sm=1024,
        max_blocks_per_sm=16,
        warp_size=32,
        workgroup_bytes=32 * KIB,
        shared_bytes_per_sm=32 * KIB,
        registers_per_sm=65536,
    ),
}


def device_for(chip: str) -> Device:
    """The device that stands for `chip` ("sm_90", "sm_90a"), or the product of that name ("h200", "mali-g710").

    Raises UnsupportedTarget naming what is known.
    """
    if chip in GRAPHICS:
        return GRAPHICS[chip]
    base = re.sub(r"(?<=\d)[af]$", "", chip)
    if chip not in PRODUCTS and base not in CHIPS:
        known = ", ".join([*CHIPS, *PRODUCTS, *GRAPHICS])
        raise UnsupportedTarget(f"The GPU '{chip}' is not in the device tables; known are {known}.")
    return PRODUCTS[chip] if chip in PRODUCTS else PRODUCTS[CHIPS[base]]


def product(name: str, capability: tuple[int, int]) -> Device | None:
    """The device a driver calls `name`, else the nearest older chip's limits under that name; None if too old."""
    for device in PRODUCTS.values():
        if device.capability == capability and (name in device.name or device.name in name):
            return device
    older = [d for d in map(device_for, CHIPS) if d.capability <= capability]
    return replace(max(older, key=lambda d: d.capability), name=name) if older else None


# --- a CPU to plan for ----------------------------------------------------------------------------
# No machine in particular: eight cores at 2.5 GHz with AVX2 and two fused multiply-adds a cycle, 10 GB/s a core.
ANY_CPU = Device(
    name="any CPU",
    kind="cpu",
    chip="host",
    multiprocessors=8,
    dram_bandwidth=80e9,
    l2_bytes=512 * KIB,
    fp32_flops=640e9,
    launch_seconds=5e-6,
    registers_per_thread=16,
    vector_bytes=32,
    l1_bytes=32 * KIB,
    l3_bytes=16 * MIB,
)


def planning_device(chip: str) -> Device:
    """The device that fusion is planned for: `device_for(chip)`, and for "host" one CPU that stands for all.

    What this machine's CPU is decides schedules, not groups: the same model and options give the same plan everywhere.
    """
    return ANY_CPU if chip == "host" else device_for(chip)


# --- the host CPU ---------------------------------------------------------------------------------
# Assumed, since no file tells it: bytes a second that one core draws from memory (a core of a shared
# server measures 8 to 15 GB/s), and the hand-over to a waiting thread (a futex wake).
_DRAM_BANDWIDTH_PER_CORE = 10e9
_PARALLEL_REGION_SECONDS = 5e-6
_FMA_PIPES = 2  # AMD Zen and Intel Core since Haswell: two fused multiply-adds a cycle (Agner Fog, microarchitecture)


def usable_cores() -> int:
    """The CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def host_device() -> Device:
    """This machine's CPU: cores this process may use, vector width, caches."""
    info = _cpu_info(Path("/proc/cpuinfo"))
    features = frozenset((info.get("flags") or info.get("Features") or "").split())
    vector_bytes, registers = _vector_unit(features)
    cores = usable_cores()
    caches = _cache_sizes(Path("/sys/devices/system/cpu/cpu0/cache"))
    hertz = float(info.get("cpu MHz", "2500")) * 1e6
    return Device(
        name=info.get("model name", platform.processor() or "CPU").strip(),
        kind="cpu",
        chip=platform.machine() or "cpu",
        multiprocessors=cores,
        dram_bandwidth=cores * _DRAM_BANDWIDTH_PER_CORE,
        l2_bytes=caches.get(2, 512 * KIB),
        fp32_flops=cores * hertz * (vector_bytes // 4) * 2 * _FMA_PIPES,
        launch_seconds=_PARALLEL_REGION_SECONDS,
        registers_per_thread=registers,
        vector_bytes=vector_bytes,
        l1_bytes=caches.get(1, 32 * KIB),
        l3_bytes=caches.get(3, 0),
        features=features,
    )


def _cpu_info(path: Path) -> dict[str, str]:
    """The first processor of /proc/cpuinfo as a dictionary; empty where there is no such file."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _vector_unit(features: frozenset[str]) -> tuple[int, int]:
    """Bytes in a vector register and how many there are."""
    if "avx512f" in features:
        return 64, 32
    if "avx2" in features:
        return 32, 16
    if "asimd" in features:
        return 16, 32
    return 16, 16


def _cache_sizes(folder: Path) -> dict[int, int]:
    """Bytes of the data or unified cache of each level, as the kernel describes them."""
    sizes: dict[int, int] = {}
    for index in sorted(folder.glob("index[0-9]*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        found = re.fullmatch(r"(\d+)([KMG]?)", size)
        if found and kind in ("Data", "Unified"):
            sizes[int(level)] = int(found[1]) * {"": 1, "K": KIB, "M": MIB, "G": KIB * MIB}[found[2]]
    return sizes
