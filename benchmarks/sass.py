"""The machine code of a GPU kernel, as nvdisasm lists it: its instructions, and its loops."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from mlirfuse.errors import UnsupportedTarget
from mlirfuse.lowering.nvvm.pipeline import lower_kernel, to_llvm_ir
from mlirfuse.lowering.nvvm.ptx import llvm_ir_to_ptx
from mlirfuse.lowering.nvvm.ptxas import Assembly, assemble
from mlirfuse.mlir import context, ir

__all__ = ["Code", "Span", "compiled", "disassembler"]

_WHEEL = "nvidia-cuda-nvdisasm"
_LABEL = re.compile(r"^\s*(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;")
_BRANCH = re.compile(r"\bBRA\b.*?(\.L_x_\d+)")
_EXIT = re.compile(r"^EXIT\b")


@dataclass(frozen=True)
class Span:
    """Instructions `begin` to `end` (not included) of a listing."""

    begin: int
    end: int

    def __len__(self) -> int:
        return self.end - self.begin

    def __contains__(self, other: Span) -> bool:
        return self.begin <= other.begin and other.end <= self.end and self != other


@dataclass(frozen=True)
class Code:
    """The instructions of one kernel up to its last exit, and its loops in the order in which they end."""

    instructions: tuple[str, ...]
    loops: tuple[Span, ...]

    @classmethod
    def of_listing(cls, text: str) -> Code:
        """What nvdisasm prints. A loop is a branch back to a label; traps and padding after the last exit are none."""
        found: list[str] = []
        labels: dict[str, int] = {}
        loops: list[Span] = []
        for line in text.splitlines():
            if label := _LABEL.match(line):
                labels[label[1]] = len(found)
            elif instruction := _INSTRUCTION.search(line):
                found.append(instruction[1])
                branch = _BRANCH.search(instruction[1])
                if branch and branch[1] in labels and labels[branch[1]] < len(found) - 1:
                    loops.append(Span(labels[branch[1]], len(found)))
        last = max((i for i, text in enumerate(found) if _EXIT.match(text)), default=len(found) - 1)
        end = max([last + 1, *(loop.end for loop in loops)])
        return cls(tuple(found[:end]), tuple(loops))

    @property
    def whole(self) -> Span:
        return Span(0, len(self.instructions))

    def count(self, name: str, span: Span | None = None) -> int:
        """Instructions called `name`, FFMA or LDS, predicated or not."""
        span = span or self.whole
        called = re.compile(rf"^(@!?U?P\w+\s+)?{name}\b")
        return sum(bool(called.match(text)) for text in self.instructions[span.begin : span.end])

    def innermost(self, wanted: Callable[[Span], bool]) -> list[Span]:
        """The loops that are `wanted` and have none such inside, in the order of the code."""
        found = [loop for loop in self.loops if wanted(loop)]
        return sorted(
            (loop for loop in found if not any(other in loop for other in found)), key=lambda loop: loop.begin
        )

    def issued(self, span: Span, name: str, expected: float) -> float:
        """Instructions that a thread runs from begin to end of `span` if `expected` of these are called `name`.

        This tells how often the loops inside are run: those with `name` as often as it takes, alike; others once.
        """
        inner = self.innermost(lambda s: s in span and self.count(name, s) > 0)
        if not inner:
            return float(len(span))
        outside = self.count(name, span) - sum(self.count(name, loop) for loop in inner)
        each = (expected - outside) / len(inner)
        turns = [each / self.count(name, loop) for loop in inner]
        return len(span) + sum((t - 1) * len(loop) for t, loop in zip(turns, inner, strict=True))


@functools.cache
def disassembler() -> str | None:
    """The wheel's nvdisasm, else the one on PATH, else None."""
    try:
        for file in files(_WHEEL) or []:
            if file.name == "nvdisasm":
                return str(file.locate())
    except PackageNotFoundError:
        pass
    return shutil.which("nvdisasm")


def compiled(emit: Callable[[], ir.Module], chip: str) -> tuple[Assembly, Code]:
    """A kernel's machine code; `emit` is called in a context of its own."""
    binary = disassembler()
    if binary is None:
        raise UnsupportedTarget(f"nvdisasm is not installed; `pip install {_WHEEL}` brings it.")
    with context():
        ptx = llvm_ir_to_ptx(to_llvm_ir(lower_kernel(str(emit()))), chip)
    assembly = assemble(ptx, chip)
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder, "kernel.cubin")
        cubin.write_bytes(assembly.cubin)
        listing = subprocess.run([binary, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout
    return assembly, Code.of_listing(listing)
