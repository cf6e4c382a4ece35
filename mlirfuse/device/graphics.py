"""GPUs of every vendor, as Vulkan runs on them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlirfuse.device.facts import KIB, MIB, PCIE_3, Device

# An estimate: a dispatch with its memory barrier in a recorded command buffer.
_DISPATCH_SECONDS = 5e-6
# Estimates: what the last cache gives more than memory, and how soon. Graphics units run at half a big GPU's clock.
_L2_SPEEDUP = 4.0
_L2_LATENCY = 250e-9


def _graphics(chip: str, name: str, *, workgroup_bytes: int, max_threads_per_block: int, **facts: Any) -> Device:
    """A GPU whose blocks have `workgroup_bytes` of memory; in a word for each thread of it, lanes exchange values."""
    exchange = 4 * max_threads_per_block
    return Device(
        name=name,
        kind="gpu",
        chip=chip,
        launch_seconds=_DISPATCH_SECONDS,
        l2_bandwidth=_L2_SPEEDUP * facts["dram_bandwidth"],
        l2_latency=_L2_LATENCY,
        dram_latency=2 * _L2_LATENCY,
        register_unit=1,
        max_threads_per_block=max_threads_per_block,
        shared_bytes_per_block=workgroup_bytes - exchange,
        shared_bytes_reserved=exchange,
        **facts,
    )


PORTABLE = "portable"
# The limits that WebGPU promises of every device (W3C WebGPU, "Limits"); the rates of a small integrated GPU. No
# number of registers is promised, nor a memory shared with the host; assumed are Intel's 128, and PCIe.
_PORTABLE = _graphics(
    PORTABLE,
    "any GPU with Vulkan",
    multiprocessors=8,
    dram_bandwidth=50e9,
    host_bandwidth=PCIE_3,
    l2_bytes=MIB,
    fp32_flops=1e12,
    registers_per_thread=128,
    max_threads_per_block=256,
    max_threads_per_sm=1024,
    max_blocks_per_sm=16,
    warp_size=32,
    stores_halves=False,
    workgroup_bytes=16 * KIB,
    shared_bytes_per_sm=32 * KIB,
    registers_per_sm=65536,
)
GRAPHICS: Mapping[str, Device] = {
    PORTABLE: _PORTABLE,
    # with WebGPU's feature "shader-f16"
    "portable-f16": replace(
        _PORTABLE, chip="portable-f16", name="any GPU with Vulkan and 16-bit floats", stores_halves=True
    ),
    # Intel's Xe-LP API developer guide: 6 dual subslices of 16 units with 7 threads each, 128 registers of 32 bytes a
    # thread, 64 KiB of local memory a work-group, L3 of 3.75 MiB; shaders are compiled for 8, 16 or 32 lanes, as the
    # driver sees fit; 96 units at 1.35 GHz; LPDDR4x-4266
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
        subgroup=8,
        workgroup_bytes=64 * KIB,
        shared_bytes_per_sm=128 * KIB,
        registers_per_sm=114688,
    ),
    # AnandTech, "Arm Announces New Mali-G710" (2021): 64 fused multiply-adds a core and cycle (G77's 32, doubled); 10
    # cores at 850 MHz. Arm GPU Datasheet: warps of 16. Assumed, as of earlier Mali: 1024 threads of 64 registers a
    # core, 32 KiB of workgroup memory, 1 MiB of L2, LPDDR5-6400 on 64 bits
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
        subgroup=16,
        workgroup_bytes=32 * KIB,
        shared_bytes_per_sm=32 * KIB,
        registers_per_sm=65536,
    ),
}
