"""What rewriting did, as plain data: needs no MLIR, so that an explanation holds it as it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["Rewrite"]


@dataclass(frozen=True)
class Rewrite:
    """One application of a rule, or (with a `reason`) one that was refused; `nodes` are the ONNX nodes concerned.

    `numeric_class` says what it does to the numbers: exact, reassociating or domain-changing.
    """

    rule: str
    family: str
    numeric_class: str
    nodes: tuple[str, ...]
    flops_before: int
    flops_after: int
    bytes_before: int
    bytes_after: int
    reason: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Rewrite:
        data = json.loads(text)
        return cls(**(data | {"nodes": tuple(data["nodes"])}))
