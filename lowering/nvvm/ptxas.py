"""NVIDIA's assembler, where it is installed: it turns PTX into a cubin and tells what a kernel costs."""

import functools
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from mlirfuse.errors import CompilerCrash, MlirfuseError, UnsupportedTarget
from mlirfuse.options import environment

__all__ = ["Assembly", "assemble", "available", "version"]

_WHEEL = "nvidia-cuda-nvcc"
_USAGE = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


@dataclass(frozen=True)
class Assembly:
    """What one kernel costs per thread (registers, bytes of stack and spills) and per block (shared memory)."""

    registers: int
    spill_store_bytes: int
    spill_load_bytes: int
    stack_bytes: int
    shared_bytes: int
    warnings: tuple[str, ...]
    cubin: bytes


def _find() -> str | None:
    """What MLIRFUSE_PTXAS names, else the wheel's binary, else the one on PATH."""
    named = environment().ptxas
    if named is None:
        return _installed()
    if (found := shutil.which(named)) is None:
        raise MlirfuseError(
            f"The environment variable MLIRFUSE_PTXAS names '{named}', which is no program that can be run; "
            "give the path of a ptxas, or unset it."
        )
    return found


@functools.cache
def _installed() -> str | None:
    try:
        for file in files(_WHEEL) or []:
            if file.name == "ptxas":
                return str(file.locate())
    except PackageNotFoundError:
        pass
    return shutil.which("ptxas")


def available() -> bool:
    return _find() is not None


def version() -> str:
    """Its release, such as V13.0.88."""
    binary = _find()
    assert binary
    return _version(binary)


@functools.cache
def _version(binary: str) -> str:
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"V[\d.]+", said)
    return match[0] if match else said


def assemble(ptx: str, chip: str) -> Assembly:
    """Assemble a module of one kernel; a failure raises with the command that repeats it."""
    binary = _find()
    if binary is None:
        raise UnsupportedTarget(f"ptxas is not installed; `pip install {_WHEEL}` brings it.")
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        command = [binary, "-v", "-O3", f"-arch={chip}", str(source), "-o", str(cubin)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        log = done.stdout + done.stderr
        if done.returncode:
            raise _failure(ptx, chip, binary, log)
        return _read(log, cubin.read_bytes())


def _failure(ptx: str, chip: str, binary: str, log: str) -> CompilerCrash:
    with tempfile.NamedTemporaryFile("w", prefix="mlirfuse-", suffix=".ptx", delete=False) as kept:
        kept.write(ptx)
    return CompilerCrash(
        f"ptxas refused a kernel for {chip}: {' '.join(log.split())[:800]} "
        f"To repeat it: {binary} -v -O3 -arch={chip} {kept.name} -o /dev/null"
    )


def _read(log: str, cubin: bytes) -> Assembly:
    usage, shared, stack = _USAGE.search(log), _SHARED.search(log), _STACK.search(log)
    assert usage and stack, f"ptxas said something unexpected: {log}"
    return Assembly(
        registers=int(usage[1]),
        stack_bytes=int(stack[1]),
        spill_store_bytes=int(stack[2]),
        spill_load_bytes=int(stack[3]),
        shared_bytes=int(shared[1]) if shared else 0,
        warnings=tuple(line for line in log.splitlines() if "warning" in line.lower() or "C75" in line),
        cubin=cubin,
    )
