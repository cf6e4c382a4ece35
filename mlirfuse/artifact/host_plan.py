"""CPU plans: what the host lowering tells the host executor, written and read in one place.

The code is one object per distinct kernel and the native entry, "network". The entry takes base pointers,
one for each slot, and adds the steps' offsets itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mlirfuse.artifact.plan import Image, Kernel, Plan
from mlirfuse.artifact.program import SPACES, Program
from mlirfuse.artifact.schema import count, entries, field, malformed, mapping, text

__all__ = ["HostCode", "HostSlot", "host_plan", "host_slots"]


@dataclass(frozen=True)
class HostSlot:
    """One base pointer: the arena, a weight by key, or an input, output or host value by index."""

    space: str
    index: int
    key: str


class HostCode(Protocol):
    """What the host lowering makes of a program (`mlirfuse.lowering.host.HostObject`)."""

    @property
    def objects(self) -> Mapping[str, bytes]: ...

    @property
    def symbols(self) -> Mapping[str, str]: ...

    @property
    def slots(self) -> tuple[Any, ...]: ...

    @property
    def cpu(self) -> str: ...

    @property
    def features(self) -> tuple[str, ...]: ...


def host_plan(program: Program, code: HostCode) -> Plan:
    """The plan of a compiled host program."""
    return Plan(
        kind="cpu",
        program=program,
        kernels={name: Kernel(symbol, (symbol,)) for name, symbol in code.symbols.items()},
        images={name: Image("object", data) for name, data in code.objects.items()},
        features=tuple(code.features),
        metadata={
            "cpu": code.cpu,
            "slots": [{"space": s.space, "index": s.index, "key": s.key} for s in code.slots],
        },
    )


def host_slots(plan: Plan) -> tuple[HostSlot, ...]:
    """The base pointers that a plan's native entry takes, checked against its program."""
    slots = field(plan.metadata, "slots", entries(_slot), "plan.metadata")
    keys = set(plan.program.weight_keys())
    sizes = {"input": len(plan.program.inputs), "output": len(plan.program.outputs)}
    for slot in slots:
        if (slot.space == "weight" and slot.key not in keys) or slot.index >= sizes.get(slot.space, 2**48):
            raise malformed("plan.metadata.slots", "about values of the program", slot)
    return slots


def _slot(value: Any, where: str) -> HostSlot:
    data = mapping(value, where)
    space = field(data, "space", text, where)
    if space not in SPACES:
        raise malformed(f"{where}.space", f"one of {', '.join(SPACES)}", space)
    return HostSlot(space, field(data, "index", count, where, 0), field(data, "key", text, where, ""))
