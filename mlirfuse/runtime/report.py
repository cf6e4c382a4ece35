"""What a compilation did, as plain data."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["CompileReport"]


@dataclass(frozen=True)
class CompileReport:
    """The report of one compilation; `to_dict` is the JSON of `mlirfuse report`."""

    data: Mapping[str, Any]

    @property
    def kernels(self) -> list[dict[str, Any]]:
        """One entry per launch, in order."""
        return list(self.data.get("kernels", ()))

    @property
    def totals(self) -> dict[str, Any]:
        return dict(self.data.get("totals", {}))

    @property
    def compile_seconds(self) -> dict[str, float]:
        """Seconds by stage."""
        return dict(self.data.get("compile_seconds", {}))

    def to_dict(self) -> dict[str, Any]:
        return copy.deepcopy(dict(self.data))

    def __str__(self) -> str:
        head = f"{self.data.get('model', '?')} for {self.data.get('target', '?')}, {self.data.get('precision', '?')}"
        return "\n".join([head, *(f"  {name}: {value}" for name, value in self.totals.items())])
