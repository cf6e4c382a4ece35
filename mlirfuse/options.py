"""How to compile, for what, and what the environment says: the three ways configuration enters.

`CompileOptions` and `Target` are frozen values passed down; `environment()` is the only function of
the project that reads environment variables.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Self

from mlirfuse.device import CHIPS, GRAPHICS, PRODUCTS, PTX_CHIPS, PTX_PRODUCTS
from mlirfuse.errors import MlirfuseError, UnsupportedTarget

__all__ = [
    "CompileOptions",
    "Environment",
    "Shapes",
    "Target",
    "environment",
    "known_targets",
    "leave_display_alone",
    "parse_target",
]

PRECISIONS = ("auto", "fp32", "tf32", "fp16", "bf16")
FUSIONS = ("full", "no-cross-layer", "epilogue", "none")
REWRITES = ("reassociating", "all", "exact", "none")
LAYOUTS = ("auto", "nchw", "nhwc", "chwn")
WEIGHTS = ("auto", "packed", "recipes")
_CHOICES = {"precision": PRECISIONS, "fusion": FUSIONS, "rewrite": REWRITES, "layout": LAYOUTS, "weights": WEIGHTS}

# --- options --------------------------------------------------------------------------------------


class Shapes(Mapping[str, tuple[int, ...]]):
    """An immutable, hashable mapping from input name to shape."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self._shapes = {name: _shape(name, shape) for name, shape in sorted(shapes.items())}

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __hash__(self) -> int:
        return hash(tuple(self._shapes.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and self._shapes == dict(other)

    def __repr__(self) -> str:
        return f"Shapes({self._shapes})"


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    good = isinstance(shape, (tuple, list)) and all(isinstance(n, int) and not isinstance(n, bool) for n in shape)
    if not good or any(n < 0 for n in shape):
        raise MlirfuseError(
            f"CompileOptions.shapes[{name!r}] must be a tuple of whole numbers, one for each dimension, "
            f"such as (8, 3, 224, 224); found {shape!r}."
        )
    return tuple(shape)


@dataclass(frozen=True)
class CompileOptions:
    """What a user may choose about one compilation; validates itself, hashes, and travels as JSON.

    precision   "auto" is fp32; "tf32", "fp16" and "bf16" are refused until there are kernels in them.
    shapes      input name to shape; fixes symbolic dimensions or overrides static ones.
    fusion      "full", "no-cross-layer" (no kernel holds several anchors), "epilogue", "none".
    rewrite     "reassociating" may reorder floating-point sums and products, "exact" changes no bit;
                "all" may also use equations that hold only where both sides are defined, such as
                sqrt(b) * sqrt(b) = b, whose left side is NaN for b < 0; "none" rewrites nothing.
    layout      "auto" is what the target's kernels read best: channels last on CPUs, row-major on GPUs.
    weights     "packed" stores weights as kernels read them, so that the runtime reads them from the mapped file;
                "recipes" stores them as the model has them, to be packed when the artifact is loaded. "auto" is
                packed on CPUs, recipes on GPUs, whose architectures share them.
    tuning      None, or the path of a profile database (`mlirfuse tune`): planning takes measured times from it and
                scheduling the schedules found, where it has them for this machine and compiler.
    strict      refuse a model with nodes that would run on the host instead of compiling.
    no_fuse     names of ONNX nodes that stay in groups of their own.
    force_fuse  sets of ONNX node names that must share a group: ("conv1,relu1",) or (("conv1", "relu1"),).
    workers     compiler processes; None is one per core.
    cache_dir   where compiled kernels are kept; None is the environment's choice, "" keeps none.
    """

    precision: str = "auto"
    shapes: Mapping[str, Sequence[int]] = Shapes({})
    fusion: str = "full"
    rewrite: str = "reassociating"
    layout: str = "auto"
    weights: str = "auto"
    tuning: str | os.PathLike[str] | None = None
    strict: bool = False
    no_fuse: Sequence[str] = ()
    force_fuse: Sequence[str | Sequence[str]] = ()
    workers: int | None = None
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            _one_of(name, getattr(self, name), choices)
        if not isinstance(self.shapes, Mapping):
            raise MlirfuseError(f"CompileOptions.shapes must map input names to shapes; found {self.shapes!r}.")
        if not isinstance(self.strict, bool):
            raise MlirfuseError(f"CompileOptions.strict must be True or False; found {self.strict!r}.")
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise MlirfuseError(f"CompileOptions.workers must be at least 1, or None; found {self.workers!r}.")
        tuning = os.fspath(self.tuning) if isinstance(self.tuning, os.PathLike) else self.tuning
        if tuning is not None and (not isinstance(tuning, str) or not tuning):
            raise MlirfuseError(
                f"CompileOptions.tuning must be None or the path of a profile database; found {self.tuning!r}."
            )
        canonical = {
            "shapes": Shapes(self.shapes),
            "tuning": tuning,
            "no_fuse": _names("no_fuse", self.no_fuse),
            "force_fuse": tuple(_group(entry) for entry in _sequence("force_fuse", self.force_fuse)),
            "cache_dir": None if self.cache_dir is None else os.fspath(self.cache_dir),
        }
        for name, value in canonical.items():
            object.__setattr__(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: tuples become lists."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["shapes"] = {name: list(shape) for name, shape in self.shapes.items()}
        data["no_fuse"] = list(self.no_fuse)
        data["force_fuse"] = [list(group) for group in self.force_fuse]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown keys are an error that lists the known ones."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise MlirfuseError(f"CompileOptions has no option {', '.join(unknown)}; known are {', '.join(known)}.")
        return cls(**data)


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise MlirfuseError(f"CompileOptions.{name} must be one of {', '.join(choices)}; found {value!r}.")


def _sequence(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise MlirfuseError(f"CompileOptions.{name} must be a tuple; found {value!r}.")
    return value


def _names(name: str, value: Any) -> tuple[str, ...]:
    if not all(isinstance(entry, str) and entry for entry in _sequence(name, value)):
        raise MlirfuseError(
            f"CompileOptions.{name} (--{name.replace('_', '-')}) must hold names of ONNX nodes; found {value!r}."
        )
    return tuple(value)


def _group(entry: Any) -> tuple[str, ...]:
    names = tuple(part.strip() for part in entry.split(",")) if isinstance(entry, str) else _names("force_fuse", entry)
    if len(names) < 2 or not all(names):
        raise MlirfuseError(
            f"--force-fuse (an entry of CompileOptions.force_fuse) names the ONNX nodes of one group, at least two, "
            f"as 'conv1,relu1' or ('conv1', 'relu1'); found {entry!r}."
        )
    return names


# --- targets --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What to compile for. `chip` is None where the kind has one form, or the machine's own is meant."""

    kind: str
    chip: str | None = None

    def __str__(self) -> str:
        return self.kind if self.chip is None else f"{self.kind}:{self.chip}"


_BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "cpu": (),
    "cuda": (*PTX_CHIPS, *PTX_PRODUCTS),
    "simulator": (*CHIPS, *PRODUCTS),
    "vulkan": tuple(GRAPHICS),
}


def known_targets() -> dict[str, tuple[str, ...]]:
    """Target kinds and their chips: the built-in ones, and those of installed `mlirfuse.targets` entry points."""
    found = dict(_BUILT_IN)
    for point in entry_points(group="mlirfuse.targets"):
        found.setdefault(point.name, ())
    return found


def parse_target(text: "str | Target") -> Target:
    """ "cuda:sm_90" -> Target("cuda", "sm_90"); UnsupportedTarget lists what is known."""
    if isinstance(text, Target):
        return text
    known = known_targets()
    found = re.fullmatch(r"([a-z][a-z0-9_-]*)(?::([\w.-]+))?", text) if isinstance(text, str) else None
    if found and found[1] in known and (found[2] is None or found[2] in known[found[1]] or found[1] not in _BUILT_IN):
        return Target(found[1], found[2])
    names = [kind if not chips else f"{kind}, {kind}:{{{','.join(chips)}}}" for kind, chips in known.items()]
    raise UnsupportedTarget(f"There is no target {text!r}; known are {', '.join(names)}.")


# --- environment ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Environment:
    """What the environment variables of this process say.

    MLIRFUSE_CACHE_DIR  folder of the kernel cache; default $XDG_CACHE_HOME/mlirfuse, ~/.cache/mlirfuse
    MLIRFUSE_THREADS    threads of CPU executables that do not name a number
    MLIRFUSE_WORKERS    compiler processes where the options name no number
    MLIRFUSE_CRASH_DIR  where the reproducer of a compiler crash is written; default: the cache folder
    MLIRFUSE_PTXAS      the ptxas to use; default: the nvidia-cuda-nvcc wheel's, then PATH's
    """

    cache_dir: Path
    crash_dir: Path
    threads: int | None
    workers: int | None
    ptxas: str | None


def environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Read the environment now (or `variables` instead of it)."""
    source = os.environ if variables is None else variables
    home = source.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    cache = Path(source.get("MLIRFUSE_CACHE_DIR") or os.path.join(home, "mlirfuse"))
    return Environment(
        cache_dir=cache,
        crash_dir=Path(source.get("MLIRFUSE_CRASH_DIR") or cache / "crashes"),
        threads=_positive(source, "MLIRFUSE_THREADS"),
        workers=_positive(source, "MLIRFUSE_WORKERS"),
        ptxas=source.get("MLIRFUSE_PTXAS") or None,
    )


def _positive(source: Mapping[str, str], name: str) -> int | None:
    text = source.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise MlirfuseError(f"The environment variable {name} must be a whole number of at least 1; found {text!r}.")
    return int(text)


def leave_display_alone() -> None:
    """Switch off, unless it was set, Mesa's Vulkan layer that sorts GPUs: it looks for a display and complains."""
    os.environ.setdefault("NODEVICE_SELECT", "1")
