"""Where a value between groups lies in memory, as the IR says it.

`fusion-assign-buffers` writes on each op that makes values `buffers`, a dictionary for each result. `values_between`
reads the program as steps and the values that pass between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlirfuse.dialect import TensorType, attribute_value, from_attribute, to_attribute, type_from_mlir
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.element_types import element_bytes
from mlirfuse.mlir import ir

__all__ = ["Place", "Program", "Value", "place_of", "read_places", "read_program", "write_places"]


@dataclass(frozen=True)
class Place:
    """A strided view of the arena or of output buffer number `output`, or array number `host` of those the host holds.

    `offset` is in bytes, `strides` in elements for each logical dimension, `bytes` those of the elements.
    """

    offset: int
    strides: tuple[int, ...]
    bytes: int
    output: int | None = None
    host: int | None = None

    def to_attribute(self) -> ir.DictAttr:
        fields: dict[str, Any] = {"offset": self.offset, "strides": self.strides, "bytes": self.bytes}
        if self.output is not None:
            fields["output"] = self.output
        if self.host is not None:
            fields["host"] = self.host
        return ir.DictAttr.get({name: to_attribute(value) for name, value in fields.items()})

    @classmethod
    def from_attribute(cls, attribute: Any) -> Place:
        return cls(**{item.name: from_attribute(item.attr) for item in ir.DictAttr(attribute)})

    def span(self, tensor: TensorType) -> int:
        """Bytes from the first element to the end of the last one."""
        if not tensor.size:
            return 0
        reach = sum((size - 1) * stride for size, stride in zip(tensor.dims, self.strides, strict=True))
        return (reach + 1) * element_bytes(tensor.dtype)


def place_of(value: Any) -> Place | None:
    """Where the result of an op lies; None for arguments and constants, and before buffers are assigned."""
    if isinstance(value.owner, ir.Block) or "buffers" not in value.owner.operation.attributes:
        return None
    operation = value.owner.operation
    position = list(operation.results).index(value)
    return Place.from_attribute(ir.ArrayAttr(operation.attributes["buffers"])[position])


@dataclass(frozen=True)
class Value:
    """A value between steps. Elided concats are values without writers of their own: their operands are their parts.

    `whole` is the value of the elided concat that this one is a part of, `start` its first index on `axis` there.
    """

    tensor: TensorType
    writer: int | None
    readers: tuple[int, ...]
    output: int | None = None
    whole: int | None = None
    axis: int = 0
    start: int = 0


@dataclass(frozen=True)
class Program:
    """Steps in order (groups and host nodes) and the values that pass between them.

    `owners[v]` is the (op, result) that makes value v, by number among the ops that make values; `waits_for[s]` are
    the steps whose values step s reads, directly or through elided concats.
    """

    values: tuple[Value, ...]
    owners: tuple[tuple[int, int], ...]
    waits_for: tuple[tuple[int, ...], ...]

    def root(self, value: int) -> int:
        """The value whose buffer holds this one."""
        while (whole := self.values[value].whole) is not None:
            value = whole
        return value


def makers(function: ir.Operation) -> list[ir.Operation]:
    """The ops whose results need memory, in order."""
    skipped = (*CONSTANTS, "func.return")
    return [op.operation for op in function.regions[0].blocks[0] if op.operation.name not in skipped]


def read_program(function: ir.Operation) -> Program:
    """The steps and values of a function of groups, host nodes and elided concats."""
    ops = makers(function)
    steps = {op: i for i, op in enumerate(op for op in ops if op.name != "fusion.concat")}
    numbers: dict[Any, int] = {}
    for op in ops:
        for result in op.results:
            numbers[result] = len(numbers)
    terminator = list(function.regions[0].blocks[0])[-1].operation
    returned = {value: i for i, value in reversed(list(enumerate(terminator.operands)))}
    parts = _parts(ops, numbers)
    values, owners = [], []
    for position, op in enumerate(ops):
        for k, result in enumerate(op.results):
            readers = (use.owner.operation for use in result.uses)
            whole, axis, start = parts.get(result, (None, 0, 0))
            values.append(
                Value(
                    type_from_mlir(result.type),
                    steps.get(op),
                    tuple(sorted({steps[r] for r in readers if r in steps})),
                    returned.get(result),
                    whole,
                    axis,
                    start,
                )
            )
            owners.append((position, k))
    waits = [tuple(sorted(_writers(op, steps))) for op in ops if op in steps]
    return Program(tuple(values), tuple(owners), tuple(waits))


def _parts(ops: Sequence[ir.Operation], numbers: Mapping[Any, int]) -> dict[Any, tuple[int, int, int]]:
    """For every operand of an elided concat: the concat's value, the axis, and where on it the operand starts."""
    found: dict[Any, tuple[int, int, int]] = {}
    for op in ops:
        if op.name != "fusion.concat":
            continue
        axis, start = attribute_value(op, "axis"), 0
        for operand in op.operands:
            found[operand] = (numbers[op.results[0]], axis, start)
            start += type_from_mlir(operand.type).dims[axis]
    return found


def _writers(op: ir.Operation, steps: Mapping[Any, int]) -> set[int]:
    found: set[int] = set()
    for operand in op.operands:
        if isinstance(operand.owner, ir.Block):
            continue
        owner = operand.owner.operation
        if owner in steps:
            found.add(steps[owner])
        elif owner.name == "fusion.concat":
            found |= _writers(owner, steps)
    return found


def write_places(function: ir.Operation, program: Program, places: Sequence[Place]) -> None:
    """Put the place of every value on the op that makes it."""
    ops = makers(function)
    found: dict[int, list[ir.Attribute]] = {}
    for (position, _), place in zip(program.owners, places, strict=True):
        found.setdefault(position, []).append(place.to_attribute())
    for position, attributes in found.items():
        ops[position].attributes["buffers"] = ir.ArrayAttr.get(attributes)


def read_places(function: ir.Operation) -> list[Place]:
    """The inverse of `write_places`."""
    return [Place.from_attribute(a) for op in makers(function) for a in ir.ArrayAttr(op.attributes["buffers"])]
