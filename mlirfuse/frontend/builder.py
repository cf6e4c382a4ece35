"""What rules emit ops with: constants fold on the way, the rest becomes fusion ops.

Every op whose operands are all known is evaluated by its own NumPy reference instead of being emitted, so
that shape computations, normalisation statistics and weight permutations need no code of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlirfuse.dialect import Node, TensorType, WeightStore, build, semantics
from mlirfuse.frontend.registry import InvalidNode, NoRule
from mlirfuse.frontend.tensor import Tensor, known, too_large
from mlirfuse.mlir import ir

__all__ = ["FOLD_ELEMENTS", "FOLD_FLOPS", "OpBuilder"]

# A result is computed while importing if it is small, or no larger than what it is computed from, and cheap.
FOLD_ELEMENTS = 1 << 16
FOLD_FLOPS = 1 << 26
CONCAT_OPERANDS = 24


class OpBuilder:
    """Emits fusion ops at the current insertion point on behalf of one ONNX node at a time."""

    def __init__(self, store: WeightStore, rebatch: tuple[int, int] | None = None) -> None:
        self.store = store
        self.rebatch = rebatch  # the batch size that the model declares, and the one asked for
        self.node_name = ""
        self.emitted: list[ir.Operation] = []  # for undoing an import that turns out to have no rule
        self._content: dict[tuple[int, bool], tuple[tuple[str, TensorType, Any], Any]] = {}
        self._materialized: dict[tuple[str, TensorType, Any], Any] = {}
        self._constant_names: dict[int, tuple[str, Any]] = {}

    # --- values -----------------------------------------------------------------------------------

    def constant(self, array: Any, dtype: str | None = None) -> Tensor:
        """A tensor with known elements."""
        return known(np.asarray(array, dtype=None if dtype is None else np.dtype(dtype)))

    def name_constant(self, tensor: Tensor, name: str) -> None:
        """Remember the name that the location of a weight should show."""
        self._constant_names[id(tensor.array)] = (name, tensor.array)

    def value(self, tensor: Tensor, *, dense: bool = False) -> Any:
        """The IR value of a tensor; a known one becomes a splat (unless `dense`) or a weight."""
        if tensor.value is not None:
            return tensor.value
        if not tensor.representable:
            raise NoRule(f"{tensor.dtype} tensors have no kernels")
        key = (id(tensor.array), dense)
        if key not in self._content:
            self._content[key] = (self._content_of(tensor, dense), tensor.array)  # keeps the id alive
        content = self._content[key][0]
        if content not in self._materialized:
            self._materialized[content] = self._materialize(tensor, content)
        return self._materialized[content]

    def _content_of(self, tensor: Tensor, dense: bool) -> tuple[str, TensorType, Any]:
        """What makes two constants the same: kind of op, type, and attribute."""
        uniform = None if dense and tensor.type.size > 1 else uniform_value(tensor.array)
        if uniform is None or uniform != uniform:  # a NaN equals nothing, so it is stored
            return "weight", tensor.type, self.store.put(tensor.array)
        return "splat", tensor.type, (uniform, math.copysign(1, uniform))

    def _materialize(self, tensor: Tensor, content: tuple[str, TensorType, Any]) -> Any:
        name = self._constant_names.get(id(tensor.array), (self.node_name, None))[0]
        op, result, payload = content
        attrs = {"key": payload} if op == "weight" else {"value": payload[0]}
        value = build(op, [], attrs, result=result, loc=ir.Location.name(name) if name else None)
        self.emitted.append(value.owner)
        return value

    # --- ops --------------------------------------------------------------------------------------

    def op(self, op: str, operands: Sequence[Tensor], **attrs: Any) -> Tensor:
        """One fusion op, evaluated at once where its operands are known."""
        for operand in operands:
            if not operand.static:
                raise NoRule("an input has dimensions that are known only at run time")
            if not operand.representable:
                raise NoRule(f"{operand.dtype} tensors have no kernels")
        node = Node(op, attrs, tuple(t.type for t in operands), (), tuple(t.known for t in operands))
        cls = semantics(op)
        try:
            out = cls.infer(node)
            complete = Node(op, attrs, node.inputs, (out,), node.constant)
            complaint = cls.complaint(complete)
        except (ValueError, IndexError, KeyError) as error:
            raise InvalidNode(
                f"does not fit its inputs ({', '.join(str(t.type) for t in operands)}): {error}"
            ) from error
        if complaint:
            raise InvalidNode(f"{complaint} (fusion.{op})")
        if excess := too_large(out):
            raise InvalidNode(f"makes a tensor {excess}")
        if out.size == 0:
            return known(np.zeros(out.dims, np.dtype(out.dtype)))
        if all(t.known for t in operands) and self._worth_folding(cls, complete):
            array = np.asarray(cls.reference(complete, *(t.array for t in operands)))
            return known(array.astype(out.dtype, copy=False).reshape(out.dims))
        dense = op in ("conv", "contract")
        values = [self.value(t, dense=dense) for t in operands]
        location = ir.Location.name(self.node_name)
        value = build(op, values, attrs, result=out, onnx_nodes=(self.node_name,), loc=location)
        self.emitted.append(value.owner)
        return Tensor(out, value=value)

    @staticmethod
    def _worth_folding(cls: Any, node: Node) -> bool:
        largest = max((t.size for t in node.inputs), default=0)
        return node.out.size <= max(FOLD_ELEMENTS, largest) and cls.flops(node) <= FOLD_FLOPS

    def undo(self, mark: int) -> None:
        """Erase what was emitted since `len(self.emitted)` was `mark`."""
        doomed = self.emitted[mark:]
        del self.emitted[mark:]
        gone = {op.results[0] for op in doomed}
        self._materialized = {k: v for k, v in self._materialized.items() if v not in gone}
        for op in reversed(doomed):
            op.erase()

    # --- ops that may have nothing to do ------------------------------------------------------------

    def unary(self, kind: str, x: Tensor, **parameters: float) -> Tensor:
        return self.op("unary", [x], kind=kind, **parameters)

    def binary(self, kind: str, a: Tensor, b: Tensor | float) -> Tensor:
        """`b` may be a number of a's type."""
        return self.op("binary", [a, b if isinstance(b, Tensor) else self.constant(b, a.dtype)], kind=kind)

    def select(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return self.op("select", [condition, a, b])

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        return x if x.dtype == dtype else self.op("cast", [x], to=dtype)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x if x.dims == tuple(shape) else self.op("reshape", [x], shape=tuple(shape))

    def transpose(self, x: Tensor, perm: Sequence[int]) -> Tensor:
        return x if tuple(perm) == tuple(range(x.rank)) else self.op("transpose", [x], perm=tuple(perm))

    def expand(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Broadcast both ways, as ONNX's Expand does."""
        try:
            whole = tuple(np.broadcast_shapes(x.dims, tuple(shape)))
        except ValueError as error:
            raise InvalidNode(f"cannot broadcast {x.type} to {tuple(shape)}") from error
        if x.dims == whole:
            return x
        if excess := too_large(TensorType(whole, x.dtype)):
            raise InvalidNode(f"makes a tensor {excess}")
        if x.known and math.prod(whole) > FOLD_ELEMENTS and uniform_value(x.array) is not None:
            return known(np.broadcast_to(x.array, whole))  # costs no memory and becomes a splat
        return self.op("expand", [x], shape=whole)

    def slice(
        self, x: Tensor, starts: Sequence[int], sizes: Sequence[int], steps: Sequence[int] | None = None
    ) -> Tensor:
        """`sizes` elements from `starts` along every axis."""
        steps = (1,) * x.rank if steps is None else tuple(steps)
        starts = tuple(start if size else 0 for start, size in zip(starts, sizes, strict=True))
        if tuple(sizes) == x.dims and all(step == 1 for step in steps):
            return x
        return self.op("slice", [x], starts=starts, sizes=tuple(sizes), steps=steps)

    def concat(self, xs: Sequence[Tensor], axis: int) -> Tensor:
        """The tensors one after the other; many of them as a tree, whose inner results are slices of the outer."""
        kept = [x for x in xs if x.dims[axis]] or list(xs[:1])
        while len(kept) > CONCAT_OPERANDS:  # an op has room for so many changes of its operands' type
            parts = [kept[i : i + CONCAT_OPERANDS] for i in range(0, len(kept), CONCAT_OPERANDS)]
            kept = [self.concat(part, axis) for part in parts]
        return kept[0] if len(kept) == 1 else self.op("concat", kept, axis=axis)

    def pad(
        self, x: Tensor, low: Sequence[int], high: Sequence[int], mode: str = "constant", value: float = 0.0
    ) -> Tensor:
        if mode != "constant" and min(*low, *high, 0) < 0:  # crop, then repeat what is left
            cropped = [d + min(lo, 0) + min(hi, 0) for d, lo, hi in zip(x.dims, low, high, strict=True)]
            x = self.slice(x, [max(0, -lo) for lo in low], cropped)
            low, high = [max(0, lo) for lo in low], [max(0, hi) for hi in high]
        if not any(low) and not any(high):
            return x
        return self.op("pad", [x], low=tuple(low), high=tuple(high), mode=mode, value=float(value))

    def reduce(self, kind: str, x: Tensor, axes: Sequence[int], keepdims: bool = True) -> Tensor:
        """Reduce over `axes`; over none, x itself."""
        if not axes:
            return x
        return self.op("reduce", [x], kind=kind, axes=tuple(sorted(axes)), keepdims=bool(keepdims))

    def contract(self, equation: str, a: Tensor, b: Tensor) -> Tensor:
        """A sum of products over named dimensions; over none it is zero."""
        operands, _, result = equation.partition("->")
        sizes: dict[str, int] = {}
        for letters, tensor in zip(operands.split(","), (a, b), strict=True):
            for letter, size in zip(letters, tensor.dims, strict=True):
                sizes[letter] = size if sizes.get(letter, 1) == 1 else sizes[letter]
        if not math.prod(sizes.values()):  # a sum over nothing
            return self.constant(np.zeros([sizes[letter] for letter in result]), a.dtype)
        return self.op("contract", [a, b], equation=equation)

    def gather(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        return self.op("gather", [x, indices], axis=axis)


def uniform_value(array: Any) -> bool | int | float | None:
    """The one number that every element is, to the bit; None if they differ (or it cannot be an attribute)."""
    if array.size == 0 or array.dtype.kind in "OSUc":
        return None
    strided = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)
    array = array[strided]  # what is broadcast is looked at once
    first = array.flat[0]
    if array.size > 1:
        head = array.reshape(-1)[:64] if array.flags.c_contiguous else array
        for part in (head, array):
            raw = np.ascontiguousarray(part).view(f"u{array.dtype.itemsize}") if array.ndim else part
            if not (raw == raw.flat[0]).all():
                return None
    if array.dtype.kind == "b":
        return bool(first)
    if array.dtype.kind in "iu":
        return int(first) if -(2**63) <= int(first) < 2**63 else None
    return float(first)
