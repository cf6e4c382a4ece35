"""The host program of a plan: which kernels and host nodes run, in order, on which bytes.

A program is data. `Program.from_json` checks everything that running it relies on (every reference
lies inside what it refers to), so that executors index without asking again.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlirfuse.artifact.dtypes import element_bytes, known_dtype
from mlirfuse.artifact.schema import count, entries, field, malformed, mapping, shape, text

__all__ = ["Copy", "HostCall", "Launch", "Parallel", "Program", "Ref", "Step", "TensorSpec"]

SPACES = ("arena", "weight", "input", "output", "host")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: its name, shape and element type by numpy name.

    An output dimension that depends on the data is None.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of the dense tensor; 0 if a dimension is not known."""
        return _dense_bytes(self.shape, self.dtype) or 0

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}

    @classmethod
    def from_json(cls, data: Any, where: str) -> "TensorSpec":
        data = mapping(data, where)
        return cls(
            field(data, "name", text, where),
            field(data, "shape", entries(_dimension), where),
            field(data, "dtype", known_dtype, where),
        )


@dataclass(frozen=True)
class Ref:
    """Some bytes that a step reads or writes.

    `space` "arena" is at `offset` of the scratch memory, "weight" is a weight by `key`, "input" and
    "output" are the network's by `index` (at `offset` within them), and "host" is a Python-held value
    number `index` between host nodes. `shape` is given for host nodes only.
    """

    space: str
    offset: int
    key: str
    index: int
    bytes: int
    dtype: str
    shape: tuple[int | None, ...] | None
    name: str


@dataclass(frozen=True)
class Launch:
    """One GPU kernel launch; `shared_bytes` is all shared memory a block needs."""

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    args: tuple[Ref, ...]


@dataclass(frozen=True)
class Parallel:
    """`tiles` independent calls of a CPU kernel, one for each tile number."""

    kernel: str
    tiles: int
    args: tuple[Ref, ...]


@dataclass(frozen=True)
class HostCall:
    """One ONNX node (serialized) on arrays; None stands for an optional tensor that is left out."""

    node: bytes
    opset: dict[str, int]
    inputs: tuple[Ref | None, ...]
    outputs: tuple[Ref | None, ...]


@dataclass(frozen=True)
class Copy:
    """`source` to `destination`, which has as many bytes."""

    source: Ref
    destination: Ref


Step = Launch | Parallel | HostCall | Copy


@dataclass(frozen=True, eq=False)
class Program:
    """Steps in order, the arena they share, and the network's signature."""

    arena_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    steps: tuple[Step, ...]
    json: Mapping[str, Any]  # what it was read from, fields this version does not know included

    @classmethod
    def from_json(cls, data: Any, where: str = "program") -> "Program":
        """Read and check a program; ArtifactError names the first place that is wrong."""
        data = mapping(data, where)
        program = cls(
            field(data, "arena_bytes", count, where),
            field(data, "inputs", entries(TensorSpec.from_json), where),
            field(data, "outputs", entries(TensorSpec.from_json), where),
            field(data, "steps", entries(_step), where),
            data,
        )
        for index, step in enumerate(program.steps):
            for ref in refs(step):
                program._check(ref, f"{where}.steps[{index}]")
        return program

    def weight_keys(self) -> tuple[str, ...]:
        """The weights the steps use, in order of first use."""
        return tuple(dict.fromkeys(r.key for s in self.steps for r in refs(s) if r.space == "weight"))

    def kernels(self) -> tuple[str, ...]:
        """The kernels the steps run, in order of first use."""
        return tuple(dict.fromkeys(s.kernel for s in self.steps if isinstance(s, (Launch, Parallel))))

    def _check(self, ref: Ref, where: str) -> None:
        if ref.space == "arena" and ref.offset + ref.bytes > self.arena_bytes:
            raise malformed(where, f"inside the arena of {self.arena_bytes} bytes", (ref.offset, ref.bytes))
        if ref.space in ("input", "output"):
            specs = self.inputs if ref.space == "input" else self.outputs
            if ref.index >= len(specs):
                raise malformed(where, f"one of {len(specs)} {ref.space}s", ref.index)
            size = _dense_bytes(specs[ref.index].shape, specs[ref.index].dtype)
            if size is not None and ref.offset + ref.bytes > size:
                raise malformed(where, f"inside {ref.space} {ref.index} of {size} bytes", (ref.offset, ref.bytes))


def refs(step: Step) -> tuple[Ref, ...]:
    """Everything a step reads or writes."""
    match step:
        case Launch() | Parallel():
            return step.args
        case HostCall():
            return tuple(ref for ref in (*step.inputs, *step.outputs) if ref is not None)
        case Copy():
            return step.source, step.destination


def _dense_bytes(dimensions: tuple[int | None, ...], dtype: str) -> int | None:
    size = element_bytes(dtype)
    for dimension in dimensions:
        if dimension is None:
            return None
        size *= dimension
    return size


def _dimension(value: Any, where: str) -> int | None:
    return None if value is None else count(value, where)


def _ref(value: Any, where: str) -> Ref:
    data = mapping(value, where)
    space = field(data, "space", text, where)
    if space not in SPACES:
        raise malformed(f"{where}.space", f"one of {', '.join(SPACES)}", space)
    return Ref(
        space=space,
        offset=field(data, "offset", count, where, 0),
        key=field(data, "key", text, where) if space == "weight" else "",
        index=field(data, "index", count, where) if space in ("input", "output", "host") else 0,
        bytes=field(data, "bytes", count, where, 0),
        dtype=field(data, "dtype", _any_dtype if space == "host" else known_dtype, where, "float32"),
        shape=field(data, "shape", entries(_dimension), where, None),
        name=field(data, "name", text, where, ""),
    )


def _any_dtype(value: Any, where: str) -> str:
    """Host values may be strings, sequences or nothing, which have no numpy name."""
    return "" if value is None else text(value, where)


def _optional_ref(value: Any, where: str) -> Ref | None:
    return None if value is None else _ref(value, where)


def _three(value: Any, where: str) -> tuple[int, int, int]:
    sizes = shape(value, where)
    if len(sizes) != 3 or not all(0 < size < 2**31 for size in sizes):
        raise malformed(where, "three positive numbers", value)
    return sizes[0], sizes[1], sizes[2]


def _node(value: Any, where: str) -> bytes:
    try:
        return base64.b64decode(text(value, where), validate=True)
    except (binascii.Error, ValueError):
        raise malformed(where, "base64", value) from None


def _opset(value: Any, where: str) -> dict[str, int]:
    """17 means {"": 17}."""
    domains = mapping({"": value} if isinstance(value, int) else value, where)
    return {domain: count(version, where) for domain, version in domains.items()}


def _step(value: Any, where: str) -> Step:
    data = mapping(value, where)
    kind = field(data, "op", text, where)
    if kind == "launch":
        return Launch(
            field(data, "kernel", text, where),
            field(data, "grid", _three, where),
            field(data, "block", _three, where),
            field(data, "shared_bytes", count, where, 0),
            field(data, "args", entries(_ref), where),
        )
    if kind == "parallel":
        return Parallel(
            field(data, "kernel", text, where),
            field(data, "tiles", count, where),
            field(data, "args", entries(_ref), where),
        )
    if kind == "host":
        return HostCall(
            field(data, "node", _node, where),
            field(data, "opset", _opset, where, {}),
            field(data, "inputs", entries(_optional_ref), where),
            field(data, "outputs", entries(_optional_ref), where),
        )
    if kind == "copy":
        step = Copy(field(data, "source", _ref, where), field(data, "destination", _ref, where))
        if step.source.bytes != step.destination.bytes:
            raise malformed(where, "a copy between equal sizes", (step.source.bytes, step.destination.bytes))
        return step
    raise malformed(f"{where}.op", "launch, parallel, host or copy", kind)
