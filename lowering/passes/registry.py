"""The passes this project and its extensions define, by the name that pipelines use."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

import mlirfuse.lowering
from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.passes.diagnostics import Diagnostic
from mlirfuse.mlir import ir

__all__ = ["PASSES", "Pass", "PassFailure", "PipelineError", "find_pass", "load_passes", "register_pass"]

ENTRY_POINTS = "mlirfuse.passes"


class PassFailure(MlirfuseError):
    """A pass refused its input; `diagnostics` says where, as far as the pass reported it."""

    def __init__(self, message: str, diagnostics: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.diagnostics = tuple(diagnostics)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *map(str, self.diagnostics)])


class PipelineError(MlirfuseError):
    """A pipeline's text is wrong: its syntax, a name, an option or the nesting."""


@runtime_checkable
class Pass(Protocol):
    """A frozen dataclass whose fields are its options.

    It runs on the op named by its class variable `anchor` ("builtin.module" where it has none). Where the IR is
    not what it expects, it emits errors on the ops concerned and raises `PassFailure`.
    """

    name: ClassVar[str]

    def __call__(self, op: ir.Operation, /) -> None: ...


PASSES: dict[str, Callable[..., Pass]] = {}
P = TypeVar("P", bound=Callable[..., Pass])
_loaded = False


def register_pass(cls: P) -> P:
    """Make a pass class available to pipelines under its `name`."""
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls!r} is not a pass: expected a dataclass with a class variable `name`")
    if not cls.__doc__ or cls.__doc__.startswith(f"{cls.__name__}("):  # what dataclass writes itself
        raise TypeError(f"pass {name!r} has no docstring; its first line is what --list-passes shows")
    known = PASSES.setdefault(name, cls)
    if known is not cls and known.__qualname__ != cls.__qualname__:
        raise TypeError(f"pass {name!r} is defined twice: {known!r} and {cls!r}")
    return cls


def load_passes() -> dict[str, Callable[..., Pass]]:
    """Import every module of `mlirfuse.lowering` and what installed extensions name; all passes by name."""
    global _loaded
    if not _loaded:
        for module in pkgutil.walk_packages(mlirfuse.lowering.__path__, prefix="mlirfuse.lowering."):
            importlib.import_module(module.name)
        for entry_point in entry_points(group=ENTRY_POINTS):
            entry_point.load()
        _loaded = True  # only now: a broken module is reported every time
    return PASSES


def find_pass(name: str) -> Callable[..., Pass] | None:
    """The pass class called `name`, or None if it is not one of ours (it may be upstream's)."""
    return PASSES.get(name) or load_passes().get(name)


def anchor_of(cls: object) -> str:
    """The name of the op that a pass runs on."""
    return getattr(cls, "anchor", "builtin.module")
