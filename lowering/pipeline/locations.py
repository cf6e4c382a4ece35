"""Where every value of a scheduled module lies: inputs, outputs, weights, and slices of the arena."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlirfuse.dialect import TensorType, attribute_value, type_from_mlir
from mlirfuse.element_types import element_bytes
from mlirfuse.lowering.plan.buffers import place_of

__all__ = ["Location", "locate_values"]


@dataclass(frozen=True)
class Location:
    """A value's buffer: `space` is input, output, weight, arena or host.

    `index` counts inputs, outputs and host values; `offset` is in bytes; `strides` are in elements along the logical
    dimensions.
    """

    tensor: TensorType
    space: str
    strides: tuple[int, ...] = ()
    index: int = 0
    offset: int = 0
    key: str = ""

    @property
    def element_bytes(self) -> int:
        return element_bytes(self.tensor.dtype)

    @property
    def span(self) -> int:
        """Elements from the first to the last that the value touches."""
        if math.prod(self.tensor.dims) == 0:
            return 1
        return 1 + sum((size - 1) * stride for size, stride in zip(self.tensor.dims, self.strides, strict=True))

    @property
    def aligned(self) -> int:
        """How many elements, up to four, the start is a multiple of."""
        elements = self.offset // self.element_bytes
        return math.gcd(4, elements) if elements else 4


def locate_values(function: Any) -> dict[Any, Location]:
    """The location of every value that groups, fall-backs and the return of `function` use."""
    found: dict[Any, Location] = {}
    block = function.operation.regions[0].blocks[0]
    for index, argument in enumerate(block.arguments):
        tensor = type_from_mlir(argument.type)
        found[argument] = Location(tensor, "input", tensor.strides() if tensor.static else (), index)
    host_values = 0
    returned = {value: i for i, value in reversed(list(enumerate(list(block.operations)[-1].operation.operands)))}
    for op in block.operations:
        operation = op.operation
        if operation.name == "fusion.weight":
            tensor = type_from_mlir(operation.results[0].type)
            found[operation.results[0]] = Location(tensor, "weight", tensor.strides(), key=attribute_value(op, "key"))
            continue
        for result in operation.results:
            tensor, place = type_from_mlir(result.type), place_of(result)
            if place is None:
                continue
            if not tensor.static and result in returned:
                found[result] = Location(tensor, "output", index=returned[result])
            elif place.host or not tensor.static:
                found[result] = Location(tensor, "host", index=host_values)
                host_values += 1
            elif place.output is not None:
                found[result] = Location(tensor, "output", place.strides, index=place.output, offset=place.offset)
            else:
                found[result] = Location(tensor, "arena", place.strides, offset=place.offset)
    return found
