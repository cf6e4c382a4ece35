"""NVIDIA GPUs, in two tables that every product joins.

*Limits* belong to a compute capability (CUDA C++ Programming Guide, "Technical Specifications per Compute
Capability"); *products* add what a data sheet says of one board.
"""

from collections.abc import Mapping
from typing import Any

from mlirfuse.device.facts import KIB, MIB, PCIE_3, PCIE_4, PCIE_5, Device

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


def _limits(threads: int, blocks: int, shared_kib: int, *, block_kib: int = 0, reserved_kib: int = 1) -> dict[str, int]:
    """Of a multiprocessor; a block has all of its shared memory but what is reserved, or `block_kib`."""
    return {
        "max_threads_per_sm": threads,
        "max_blocks_per_sm": blocks,
        "shared_bytes_per_sm": shared_kib * KIB,
        "shared_bytes_per_block": (block_kib or shared_kib - reserved_kib) * KIB,
        "shared_bytes_reserved": reserved_kib * KIB,
    }


_LIMITS: Mapping[str, Mapping[str, int]] = {
    "sm_61": _limits(2048, 32, 96, block_kib=48, reserved_kib=0),  # there is no opt-in for more before 7.0
    "sm_80": _limits(2048, 32, 164),
    "sm_86": _limits(1536, 16, 100),
    "sm_87": _limits(1536, 16, 164),
    "sm_89": _limits(1536, 24, 100),
    "sm_90": _limits(2048, 32, 228),
    "sm_120": _limits(1536, 24, 100),
}

# `python benchmarks/gpu_facts.py` measures these times, and both bandwidths, on the GPU at hand.
# Not in any data sheet: NVIDIA's "Getting Started with CUDA Graphs" (technical blog, 2019) measures 0.5 us
# from kernel to kernel of a graph on a V100; the drain and refill of the grid come on top. An estimate.
_GRAPH_LAUNCH_SECONDS = 1.5e-6
# Luo et al., "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture via Microbenchmarking" (2024), measure
# some 260 cycles to the second cache and 480 to memory, alike on Ampere, Ada and Hopper; here at 1.7 GHz.
_L2_LATENCY = 150e-9
_DRAM_LATENCY = 280e-9
# Thread-block clusters: 8 blocks are portable (CUDA C++ Programming Guide 13, "Thread Block Clusters"). A cluster lies
# in one graphics processing cluster, of which the Hopper white paper has 8 with 16 or 18 multiprocessors each (some are
# switched off). Luo et al. (see above) measure 180 cycles between multiprocessors of a cluster, and some 3.3 TB/s, 2.65
# with four blocks: the lesser one stands here. A barrier takes one way there, one back, and its instructions: an
# estimate, until `python benchmarks/gpu_facts.py` has run.
_CLUSTERS: Mapping[str, Mapping[str, Any]] = {
    "sm_90": {
        "cluster_blocks": 8,
        "cluster_multiprocessors": 16,
        "cluster_bandwidth": 2.65e12,
        "cluster_latency": 250e-9,
    },
}


def _gpu(chip: str, name: str, *, half_flops: float = 0.0, **facts: Any) -> Device:
    """`half_flops` are those of fp16 and of bf16: tensor cores compute both at one rate."""
    limits: dict[str, Any] = {**_EVERY_CAPABILITY, **_LIMITS[chip]}
    times: dict[str, Any] = {
        "launch_seconds": _GRAPH_LAUNCH_SECONDS,
        "l2_latency": _L2_LATENCY,
        "dram_latency": _DRAM_LATENCY,
    }
    limits |= _CLUSTERS.get(chip, {})
    return Device(
        name=name, kind="gpu", chip=chip, fp16_flops=half_flops, bf16_flops=half_flops, **times, **limits, **facts
    )


# `l2_bandwidth` is in no data sheet. Measured for the H100 (Chips and Cheese, "Nvidia's H100: Funny L2, and Tons of
# Bandwidth", 2023: some 5.5 TB/s); for the others estimates, between that and 2.5 times the memory's.
PRODUCTS: Mapping[str, Device] = {
    # NVIDIA TITAN Xp product page: 3840 cores at 1582 MHz, 547.7 GB/s; GP102: 30 multiprocessors, 3 MiB L2
    "titan-xp": _gpu(
        "sm_61",
        "NVIDIA TITAN Xp",
        multiprocessors=30,
        dram_bandwidth=547.7e9,
        host_bandwidth=PCIE_3,
        l2_bandwidth=1.4e12,
        l2_bytes=3 * MIB,
        fp32_flops=12.15e12,
    ),
    # NVIDIA A100 80GB data sheet (SXM): 19.5 TFLOPS fp32, 156 tf32, 312 fp16/bf16, 2039 GB/s;
    # GA100 white paper: 108 multiprocessors, 40 MiB L2
    "a100": _gpu(
        "sm_80",
        "NVIDIA A100-SXM4-80GB",
        multiprocessors=108,
        dram_bandwidth=2039e9,
        host_bandwidth=PCIE_4,
        l2_bandwidth=5e12,
        l2_bytes=40 * MIB,
        fp32_flops=19.5e12,
        tf32_flops=156e12,
        half_flops=312e12,
    ),
    # GA102 white paper, GeForce RTX 3090: 82 multiprocessors, 35.6 TFLOPS fp32 and tf32, 71 fp16 with
    # fp32 accumulation, 936 GB/s, 6 MiB L2
    "rtx3090": _gpu(
        "sm_86",
        "NVIDIA GeForce RTX 3090",
        multiprocessors=82,
        dram_bandwidth=936e9,
        host_bandwidth=PCIE_4,
        l2_bandwidth=2.4e12,
        l2_bytes=6 * MIB,
        fp32_flops=35.6e12,
        tf32_flops=35.6e12,
        half_flops=71e12,
    ),
    # NVIDIA Jetson AGX Orin Technical Brief (64 GB): 2048 cores in 16 multiprocessors, 5.3 TFLOPS fp32, 170 sparse TOPS
    # int8, of which dense fp16 is a quarter and tf32 an eighth; 4 MiB L2; LPDDR5 of 204.8 GB/s, shared with the host
    "orin": _gpu(
        "sm_87",
        "NVIDIA Jetson AGX Orin",
        multiprocessors=16,
        dram_bandwidth=204.8e9,
        l2_bandwidth=0.6e12,
        l2_bytes=4 * MIB,
        fp32_flops=5.3e12,
        tf32_flops=21.25e12,
        half_flops=42.5e12,
    ),
    # Ada white paper, GeForce RTX 4090: 128 multiprocessors, 82.6 TFLOPS fp32 and tf32, 165.2 fp16 with
    # fp32 accumulation, 1008 GB/s, 72 MiB L2
    "rtx4090": _gpu(
        "sm_89",
        "NVIDIA GeForce RTX 4090",
        multiprocessors=128,
        dram_bandwidth=1008e9,
        host_bandwidth=PCIE_4,
        l2_bandwidth=5e12,
        l2_bytes=72 * MIB,
        fp32_flops=82.6e12,
        tf32_flops=82.6e12,
        half_flops=165.2e12,
    ),
    # NVIDIA H100 data sheet (SXM; sparse figures halved): 67 TFLOPS fp32, 494.5 tf32, 989.5 fp16/bf16,
    # 3.35 TB/s; Hopper white paper: 132 multiprocessors, 50 MiB L2
    "h100": _gpu(
        "sm_90",
        "NVIDIA H100 80GB HBM3",
        multiprocessors=132,
        dram_bandwidth=3.35e12,
        host_bandwidth=PCIE_5,
        l2_bandwidth=5.5e12,
        l2_bytes=50 * MIB,
        fp32_flops=67e12,
        tf32_flops=494.5e12,
        half_flops=989.5e12,
    ),
    # NVIDIA H200 data sheet (SXM): as H100, with 4.8 TB/s
    "h200": _gpu(
        "sm_90",
        "NVIDIA H200",
        multiprocessors=132,
        dram_bandwidth=4.8e12,
        host_bandwidth=PCIE_5,
        l2_bandwidth=5.5e12,
        l2_bytes=50 * MIB,
        fp32_flops=67e12,
        tf32_flops=494.5e12,
        half_flops=989.5e12,
    ),
    # Blackwell GeForce white paper, RTX 5090: 170 multiprocessors, 104.8 TFLOPS fp32 and tf32, 209.5 fp16
    # with fp32 accumulation, 1792 GB/s, 96 MiB L2
    "rtx5090": _gpu(
        "sm_120",
        "NVIDIA GeForce RTX 5090",
        multiprocessors=170,
        dram_bandwidth=1792e9,
        host_bandwidth=PCIE_5,
        l2_bandwidth=6e12,
        l2_bytes=96 * MIB,
        fp32_flops=104.8e12,
        tf32_flops=104.8e12,
        half_flops=209.5e12,
    ),
}

# The product that stands for a chip when only the chip is known.
CHIPS: Mapping[str, str] = {
    "sm_61": "titan-xp",
    "sm_80": "a100",
    "sm_86": "rtx3090",
    "sm_87": "orin",
    "sm_89": "rtx4090",
    "sm_90": "h100",
    "sm_120": "rtx5090",
}
# Those that PTX is made for: before compute capability 7.5 there are plans (the DNNFusion paper's GPU), but no code.
PTX_CHIPS = tuple(chip for chip, name in CHIPS.items() if PRODUCTS[name].capability >= (7, 5))
PTX_PRODUCTS = tuple(name for name, product in PRODUCTS.items() if product.chip in PTX_CHIPS)
