"""What can watch a pipeline run: printing the IR around passes, and timing them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from mlirfuse.mlir import ir

if TYPE_CHECKING:
    from mlirfuse.lowering.passes.pipeline import Step

__all__ = ["Observer", "PrintIR", "Timing"]


class Observer(Protocol):
    """Told of every step of a pipeline, upstream's included, with the whole IR."""

    def before(self, step: "Step", root: ir.Operation) -> None: ...

    def after(self, step: "Step", root: ir.Operation, seconds: float) -> None: ...


@dataclass(frozen=True)
class PrintIR:
    """Print the IR before or after every pass, under MLIR's own banner."""

    print_before: bool = False
    print_after: bool = True
    stream: TextIO | None = None  # None: whatever sys.stderr is at the time
    asm: dict[str, Any] = field(default_factory=dict)  # keyword arguments of Operation.get_asm

    def before(self, step: "Step", root: ir.Operation) -> None:
        if self.print_before:
            self._print("Before", step, root)

    def after(self, step: "Step", root: ir.Operation, seconds: float) -> None:
        if self.print_after:
            self._print("After", step, root)

    def _print(self, when: str, step: "Step", root: ir.Operation) -> None:
        stream = self.stream or sys.stderr
        stream.write(f"// -----// IR Dump {when} {step} //----- //\n{root.get_asm(**self.asm)}\n\n")
        stream.flush()


@dataclass
class Timing:
    """Seconds per step, over every run that it watches; steps of the same text add up."""

    seconds: dict[str, float] = field(default_factory=dict)

    def before(self, step: "Step", root: ir.Operation) -> None:
        pass

    def after(self, step: "Step", root: ir.Operation, seconds: float) -> None:
        self.add(str(step), seconds)

    def add(self, name: str, seconds: float) -> None:
        """Count `seconds` towards a row called `name`."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def table(self) -> str:
        """One row per step in the order of first use, then the total."""
        total = sum(self.seconds.values())
        rows: Sequence[tuple[str, float]] = [*self.seconds.items(), ("Total", total)]
        lines = ["===- Pass execution timing -===", "   seconds       %  pass"]
        lines += [f"{s:10.6f}  {100 * s / (total or 1):5.1f}%  {name}" for name, s in rows]
        return "\n".join(lines)
