"""What else a measurement holds for: the device it was made on, and the compiler that made the kernel."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

from mlirfuse.device import Device

__all__ = ["compiler_version", "device_identity"]

# The folders of lowering that decide what kernel a group becomes.
_KERNEL_SOURCES = ("codegen", "cpu", "gpu", "host", "kernel", "nvvm", "pipeline", "schedule")


def device_identity(device: Device, threads: int = 0) -> str:
    """A CPU by its model, vector width and threads (0: every core); a GPU by its chip."""
    if device.has_blocks:
        return device.chip
    count = threads or device.multiprocessors
    return f"{device.name}, {8 * device.vector_bytes}-bit vectors, {count} thread{'s' if count > 1 else ''}"


@functools.cache
def compiler_version() -> str:
    """A digest of everything that turns a group into a kernel: schedules, emission, back ends and their libraries.

    A kernel that another version made may be faster or slower: its measurements are kept, and not used.
    """
    digest = hashlib.sha256(f"torch-mlir {version('torch-mlir')}, llvmlite {version('llvmlite')}".encode())
    lowering = Path(__file__).resolve().parent.parent
    for folder in _KERNEL_SOURCES:
        for path in sorted((lowering / folder).rglob("*.py")):
            digest.update(path.relative_to(lowering).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
