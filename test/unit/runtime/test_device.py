"""The device tables: internally consistent, and lookups that explain themselves."""

from pathlib import Path

import pytest

from mlirfuse.device import CHIPS, PRODUCTS, cpu, device_for, host_device, occupancy, product
from mlirfuse.errors import UnsupportedTarget


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_gpu_is_consistent(name: str) -> None:
    gpu = PRODUCTS[name]
    assert gpu.kind == "gpu"
    assert gpu.chip in CHIPS
    assert gpu.max_threads_per_sm % gpu.warp_size == 0
    assert gpu.shared_bytes_per_block + gpu.shared_bytes_reserved <= gpu.shared_bytes_per_sm
    assert gpu.registers_per_sm >= gpu.max_threads_per_block * 64
    assert gpu.fp32_flops <= (gpu.tf32_flops or gpu.fp32_flops) <= (gpu.fp16_flops or gpu.fp32_flops)
    assert gpu.has_tensor_cores == (gpu.capability >= (8, 0))
    # fp32 rate over multiprocessors and two operations a cycle: 64 or 128 lanes at 1 to 3 GHz
    assert 1e9 < gpu.fp32_flops / (gpu.multiprocessors * 2 * (64 if gpu.chip == "sm_80" else 128)) < 3e9
    assert 5 < gpu.machine_balance < 120


def test_chips_and_products_are_found() -> None:
    assert device_for("sm_90").name.startswith("NVIDIA H100")
    assert device_for("sm_90a") is device_for("sm_90")
    assert device_for("h200").dram_bandwidth > device_for("h100").dram_bandwidth
    assert device_for("sm_120").capability == (12, 0)
    with pytest.raises(UnsupportedTarget, match=r"known are sm_61.*h200"):
        device_for("sm_42")


def test_a_driver_name_finds_its_product_or_the_nearest_older_limits() -> None:
    assert product("NVIDIA H200", (9, 0)) is PRODUCTS["h200"]
    unknown = product("NVIDIA B200", (10, 0))
    assert unknown is not None
    assert (unknown.name, unknown.chip) == ("NVIDIA B200", "sm_90")
    assert product("GeForce 8800", (1, 0)) is None


def test_rates_by_precision() -> None:
    assert device_for("h100").flops("bf16") == device_for("h100").bf16_flops
    assert device_for("titan-xp").flops("tf32") == device_for("titan-xp").fp32_flops


def test_the_host_is_measured() -> None:
    host = host_device()
    assert host.kind == "cpu"
    assert host.multiprocessors >= 1
    assert host.vector_bytes in (16, 32, 64)
    assert host.l1_bytes >= 8192
    assert host.capability == (0, 0)


@pytest.mark.parametrize(
    ("features", "expected"),
    [("avx512f avx2", (64, 32)), ("avx2", (32, 16)), ("asimd", (16, 32)), ("sse2", (16, 16))],
)
def test_vector_units(features: str, expected: tuple[int, int]) -> None:
    assert cpu._vector_unit(frozenset(features.split())) == expected


def test_files_that_are_not_there_are_no_error(tmp_path: Path) -> None:
    assert cpu._cpu_info(tmp_path / "cpuinfo") == {}
    assert cpu._cache_sizes(tmp_path) == {}


def test_caches_are_read_by_level(tmp_path: Path) -> None:
    for index, (level, kind, size) in enumerate([(1, "Data", "48K"), (1, "Instruction", "32K"), (3, "Unified", "64M")]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    assert cpu._cache_sizes(tmp_path) == {1: 48 * 1024, 3: 64 * 1024**2}


@pytest.mark.parametrize(
    ("chip", "threads", "shared", "registers", "blocks", "share", "limit"),
    [
        ("sm_90", 256, 0, 32, 8, 1.0, "threads"),
        ("sm_90", 256, 0, 64, 4, 0.5, "registers"),
        ("sm_90", 256, 0, 65, 3, 0.375, "registers"),  # a warp's 2080 registers are given as 2304
        ("sm_90", 32, 0, None, 32, 0.5, "blocks"),
        ("sm_90", 128, 75 * 1024, 32, 3, 0.1875, "shared memory"),  # 228 KiB hold three of 75 and 1 for the driver
        ("titan-xp", 100, 32 * 1024, 32, 3, 0.1875, "shared memory"),  # threads come in warps: 128
        ("sm_86", 1024, 0, 32, 1, 1024 / 1536, "threads"),
    ],
)
def test_occupancy(
    chip: str, threads: int, shared: int, registers: int | None, blocks: int, share: float, limit: str
) -> None:
    found = occupancy(device_for(chip), threads, shared, registers)
    assert found is not None
    assert (found.blocks, found.share, found.limit) == (blocks, share, limit)


def test_a_cpu_holds_no_blocks() -> None:
    assert occupancy(host_device(), 1, 0) is None
