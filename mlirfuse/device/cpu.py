"""CPUs: the one that fusion is planned for, and this machine's, read from the files of its kernel."""

import functools
import os
import platform
import re
from pathlib import Path

from mlirfuse.device.facts import KIB, MIB, Device

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
