"""Why two operations are not in one kernel, as data that travels in the IR."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

__all__ = ["Finding", "Launch", "Number", "Proof", "Refusal", "Verdict", "VerdictKind"]

Number = float | int | str

# The first check that refused: what the user asked for, the side of the graph that lies outside of groups,
# a constraint of kernels, what the device has for a thread or a block of threads, a path that would leave the kernel
# and enter it again, DNNFusion's table, the resource model, or a better place for the op. A proof is no refusal: it
# says why anchors that the table keeps apart share a kernel.
VerdictKind = Literal["option", "boundary", "legality", "resources", "convexity", "table", "cost", "placement", "proof"]


Refusal = tuple[VerdictKind, str, dict[str, Number]]  # the check, its reason and its numbers


@dataclass(frozen=True)
class Finding:
    """What a check found, and from which numbers."""

    reason: str
    numbers: Mapping[str, Number]


@dataclass(frozen=True)
class Verdict:
    """One edge that is not fused: who makes the value, who reads it, why, and the numbers that decided."""

    producer: tuple[str, ...]
    consumer: tuple[str, ...]
    kind: VerdictKind
    reason: str
    numbers: Mapping[str, Number] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON, as the IR stores it."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Verdict":
        """The inverse of `to_json`."""
        data: dict[str, Any] = json.loads(text)
        data["producer"], data["consumer"] = tuple(data["producer"]), tuple(data["consumer"])
        return cls(**data)

    def __str__(self) -> str:
        return f"{'+'.join(self.producer)} -> {'+'.join(self.consumer)}: {self.kind}: {self.reason}"


@dataclass(frozen=True)
class Launch:
    """A kernel that was priced: its ONNX nodes, what it takes, what it moves; its `tile` if it has several layers."""

    nodes: tuple[str, ...]
    seconds: float
    dram_bytes: int
    tile: tuple[int, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Launch":
        return cls(**{**data, "nodes": tuple(data["nodes"]), "tile": tuple(data["tile"])})


@dataclass(frozen=True)
class Proof(Verdict):
    """Why anchors that the table keeps apart share a kernel.

    Of layers that were joined because that takes less time: `parts` are the kernels that they would be alone,
    `runner_up` those of the next best way to run them. `larger` is the kernel that takes in neighbours too and came
    nearest to paying (None where none could be made); the network takes `larger_adds` seconds more with it.
    """

    parts: tuple[Launch, ...] = ()
    runner_up: tuple[Launch, ...] = ()
    larger: Launch | None = None
    larger_adds: float = 0.0

    def around_forced(self, forced: "Proof") -> "Proof":
        """The same for a kernel that took in one that the user wants."""
        reason = f"{self.reason}; --force-fuse asks for {forced.numbers['layers']} of it, whatever they take"
        return replace(self, reason=reason, numbers={**self.numbers, "forced": 1})

    @classmethod
    def from_json(cls, text: str) -> "Proof":
        """The inverse of `to_json`."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Proof":
        """The inverse of `dataclasses.asdict`."""
        fields: dict[str, Any] = dict(data)
        for name in ("producer", "consumer"):
            fields[name] = tuple(fields[name])
        for name in ("parts", "runner_up"):
            fields[name] = tuple(map(Launch.from_dict, fields[name]))
        if fields["larger"] is not None:
            fields["larger"] = Launch.from_dict(fields["larger"])
        return cls(**fields)
