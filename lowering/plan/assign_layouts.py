"""Choose the memory order of the values between kernels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from mlirfuse.dialect import TensorType, attribute_value, segment_sizes, type_from_mlir, type_to_mlir
from mlirfuse.lowering.passes import register_pass
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.mlir import ir

__all__ = ["AssignLayouts", "memory_order"]

_MAKERS = ("fusion.group", "fusion.concat")


@register_pass
@dataclass(frozen=True)
class AssignLayouts:
    """Give spatial values between groups the memory order `layout`: nchw (row-major), nhwc or chwn.

    Spatial are the values that convolutions, windows over the trailing dimensions and sampling read and make, and all
    values that a group reads or makes together with one of the same shape. Arguments, results and constants of the
    network and what host nodes touch stay row-major; the parts of an elided concat have its order. Ops in bodies see
    logical shapes as before.
    """

    name: ClassVar[str] = "fusion-assign-layouts"
    layout: Literal["nchw", "nhwc", "chwn"] = "nhwc"

    def __call__(self, module_op: ir.Operation) -> None:
        if self.layout == "nchw":
            return
        ops = [op.operation for op in main_function(module_op).regions[0].blocks[0]]
        classes = _Classes(ops)
        for value, is_part in classes.spatial_values():
            tensor = type_from_mlir(value.type)
            order = memory_order(tensor, self.layout)
            if is_part or _moves_elements(tensor, order):
                value.set_type(type_to_mlir(replace(tensor, layout=order)))
        for op in ops:
            if op.name == "fusion.group":
                _follow_into_body(op)
            _count_segments(op)


def memory_order(tensor: TensorType, layout: str) -> tuple[int, ...]:
    """Logical dimensions from outermost to innermost: channels last, or the batch last."""
    if layout == "nchw":
        return tuple(range(tensor.rank))
    return (0, *range(2, tensor.rank), 1) if layout == "nhwc" else (*range(1, tensor.rank), 0)


def _moves_elements(tensor: TensorType, order: tuple[int, ...]) -> bool:
    """Whether an order differs from row-major in more than dimensions of size 1."""
    long = [axis for axis in order if tensor.dims[axis] != 1]
    return long != sorted(long)


class _Classes:
    """Values that must take one layout together (the parts of elided concats), and what is spatial among them."""

    def __init__(self, ops: list[ir.Operation]) -> None:
        self._values = [r for op in ops if op.name in _MAKERS for r in op.results]
        self._whole: dict[Any, Any] = {}
        self._fixed: set[Any] = set()
        self._parts: set[Any] = set()
        for op in reversed(ops):  # an outer concat before those that are its parts
            if op.name == "fusion.concat":
                whole = self._root(op.results[0])
                self._parts.update((whole, *op.operands))
                self._whole.update((v, whole) for v in op.operands)
        for op in ops:
            if op.name not in _MAKERS:
                self._fixed.update(map(self._root, op.operands))
        self._spatial = self._spread(ops)

    def spatial_values(self) -> Iterable[tuple[Any, bool]]:
        """The values that take the layout, and whether each belongs to a concat's buffer."""
        for value in self._values:
            root = self._root(value)
            if root in self._spatial and root not in self._fixed and type_from_mlir(value.type).static:
                yield value, value in self._parts

    def _root(self, value: Any) -> Any:
        while value in self._whole:
            value = self._whole[value]
        return value

    def _spread(self, ops: list[ir.Operation]) -> set[Any]:
        """The roots that a convolution or window touches, and those of their shape beside them, and so on."""
        beside: dict[Any, set[Any]] = {}
        todo: list[Any] = []
        for op in ops:
            if op.name != "fusion.group":
                continue
            rank = _spatial_rank(op)
            by_shape: dict[tuple[int, ...], set[Any]] = {}
            for value in (*op.operands, *op.results):
                shape = type_from_mlir(value.type).dims
                if isinstance(value.owner, ir.Block) or value.owner.operation.name not in _MAKERS or len(shape) < 3:
                    continue
                by_shape.setdefault(shape, set()).add(self._root(value))
                if len(shape) == rank:
                    todo.append(self._root(value))
            for roots in by_shape.values():
                for root in roots:
                    beside.setdefault(root, set()).update(roots)
        found: set[Any] = set()
        while todo:
            root = todo.pop()
            if root not in found:
                found.add(root)
                todo.extend(beside.get(root, ()))
        return found


def _spatial_rank(group: ir.Operation) -> int | None:
    """The rank of what a group's convolution, trailing window or sampling works on."""
    for op in group.regions[0].blocks[0]:
        if op.operation.name in ("fusion.conv", "fusion.roi_align", "fusion.grid_sample"):
            return type_from_mlir(op.operation.operands[0].type).rank
        if op.operation.name == "fusion.window":
            rank = type_from_mlir(op.operation.operands[0].type).rank
            axes = attribute_value(op, "axes")
            if rank >= 3 and min(axes) >= 2:
                return rank
    return None


def _follow_into_body(group: ir.Operation) -> None:
    """Let block arguments and yielded values have the types of operands and results."""
    block = group.regions[0].blocks[0]
    for argument, operand in zip(block.arguments, group.operands, strict=True):
        argument.set_type(operand.type)
    *ops, terminator = [op.operation for op in block]
    for value, result in zip(terminator.operands, group.results, strict=True):
        value.set_type(result.type)
    for op in (*ops, terminator):
        _count_segments(op)


def _count_segments(op: ir.Operation) -> None:
    """Count the runs of equal types again."""
    if "operandSegmentSizes" in op.attributes:
        results = [r.type for r in op.results] if "resultSegmentSizes" in op.attributes else None
        for name, sizes in segment_sizes([v.type for v in op.operands], results).items():
            op.attributes[name] = sizes
