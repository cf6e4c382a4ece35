"""From a program's step list to the table of the native entry: slots, offsets and barriers.

A barrier is left out where a step touches nothing that the steps since the last barrier write, and
writes nothing that they touch: branches of a network then run side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlirfuse.lowering.host.entry import NativeStep

__all__ = ["Slot", "native_program"]


@dataclass(frozen=True)
class Slot:
    """One base pointer the runtime provides: `space` as in the program's references; a weight by `key`,
    an input, output or host value by `index`."""

    space: str
    index: int = 0
    key: str = ""


@dataclass(frozen=True)
class _Access:
    slot: int
    low: int
    high: int
    writes: bool

    def conflicts(self, other: "_Access") -> bool:
        overlap = self.slot == other.slot and self.low < other.high and other.low < self.high
        return overlap and (self.writes or other.writes)


def native_program(
    steps: Sequence[Mapping[str, Any]],
    symbols: Mapping[str, str],
    written: Mapping[str, Sequence[bool]],
) -> tuple[list[NativeStep], tuple[Slot, ...]]:
    """The native steps (the program's "parallel" and "copy" steps, in order) and their slots.

    `symbols` gives the function of each kernel, `written` which of its buffers it may write.
    """
    slots: dict[Slot, int] = {}
    native: list[NativeStep] = []
    running: list[tuple[list[_Access], bool]] = []  # since the last barrier: accesses, and whether of one tile
    for step in steps:
        if step["op"] == "host":
            running = []  # the segment ends here, and with it all that ran
            continue
        refs, writes = _arguments(step, written)
        accesses = [_access(ref, w, slots) for ref, w in zip(refs, writes, strict=True)]
        tiles = step["tiles"] if step["op"] == "parallel" else 1
        single = tiles == 1
        # steps of one tile all run on the calling thread, in order
        barrier = any(
            a.conflicts(b) for others, alone in running if not (single and alone) for a in accesses for b in others
        )
        if barrier:
            running = []
        running.append((accesses, single))
        native.append(
            NativeStep(
                symbols[step["kernel"]] if step["op"] == "parallel" else None,
                tiles,
                tuple((a.slot, a.low) for a in accesses),
                barrier,
                refs[0]["bytes"] if step["op"] == "copy" else 0,
            )
        )
    return native, tuple(slots)


def _arguments(
    step: Mapping[str, Any], written: Mapping[str, Sequence[bool]]
) -> tuple[Sequence[Mapping[str, Any]], Sequence[bool]]:
    if step["op"] == "parallel":
        return step["args"], written[step["kernel"]]
    assert step["op"] == "copy", f"a host program cannot have a step {step['op']!r}"
    return (step["source"], step["destination"]), (False, True)


def _access(ref: Mapping[str, Any], writes: bool, slots: dict[Slot, int]) -> _Access:
    space, offset = ref["space"], ref.get("offset", 0)
    slot = Slot(
        space,
        ref["index"] if space in ("input", "output", "host") else 0,
        ref["key"] if space == "weight" else "",
    )
    number = slots.setdefault(slot, len(slots))
    return _Access(number, offset, offset + max(ref.get("bytes", 0), 1), writes)
