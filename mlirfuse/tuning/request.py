"""What processes that plan a model are asked, what they answer with, and what both kinds of them do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Candidate", "Found", "Request", "imported", "label_of", "write_candidate"]

_NAMED = 3


@dataclass(frozen=True)
class Request:
    """A model (path), how it is compiled, and the folder that candidates are written to.

    `tuning` of the options names the database.
    """

    model: str
    target: str
    options: dict[str, Any]
    folder: str


@dataclass(frozen=True)
class Candidate:
    """A group to be measured: KEY.mlir in the folder, its weights in KEY.safetensors.

    `alternatives` are the schedules (JSON) that it may have besides the chosen one, the most promising first.
    """

    key: str
    structure: str
    label: str
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """How many questions a model raises, how many of them the database answers, and what would answer the rest."""

    asked: int
    answered: int
    device: str
    compiler: str
    candidates: tuple[Candidate, ...]


@contextmanager
def imported(request: Request) -> Iterator[tuple[Any, Any, Any]]:
    """The module of a request at the graph stage, its weights, and the options of the stages that follow."""
    from mlirfuse.dialect import WeightStore
    from mlirfuse.frontend import import_model, load_model
    from mlirfuse.mlir import context
    from mlirfuse.options import CompileOptions, parse_target
    from mlirfuse.targets import backend_for

    options = CompileOptions.from_dict(request.options)
    target = parse_target(request.target)
    store = WeightStore()
    with context(), store.active():
        model = load_model(request.model, options.shapes)
        module = import_model(model, store, options.shapes, strict=options.strict)
        yield module, store, backend_for(target).stage_options(target, options)


def label_of(names: Sequence[str]) -> str:
    """What a person calls a group of nodes with these names."""
    more = len(names) - _NAMED
    return " ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def write_candidate(request: Request, candidate: Candidate, module: Any, store: Any) -> None:
    """Write KEY.mlir, and the weights that it names."""
    from mlirfuse.dialect import WeightStore
    from mlirfuse.tuning.candidates import weight_keys

    folder = Path(request.folder)
    (folder / f"{candidate.key}.mlir").write_text(str(module))
    weights = WeightStore()
    for weight in weight_keys(module):
        weights.put(store.get(weight))
    weights.save(folder / f"{candidate.key}.safetensors")
