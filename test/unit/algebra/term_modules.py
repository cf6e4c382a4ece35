"""Modules that compute a term, spelled as it is: nothing shared but its variables."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlirfuse.dialect import TensorType, build, node_of, onnx_nodes, semantics, type_from_mlir, type_to_mlir
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.lowering.algebra.functions import FUNCTIONS
from mlirfuse.lowering.algebra.match import attribute_slot
from mlirfuse.lowering.algebra.term import Apply, Number, Term, Variable
from mlirfuse.mlir import func, ir


class TermModule:
    """One function whose results are terms. `arrays` are its arguments, but for those named in `constants`."""

    def __init__(
        self, arrays: dict[str, Any], attrs: dict[str, dict[str, Any]], constants: tuple[str, ...] = ()
    ) -> None:
        self.arrays = {name: a for name, a in arrays.items() if name not in constants}
        self.attrs = attrs
        self.module = ir.Module.create()
        types = [type_to_mlir(TensorType(a.shape, a.dtype.name)) for a in self.arrays.values()]
        with ir.InsertionPoint(self.module.body):
            self.function = func.FuncOp("main", (types, []))
        self.block = self.function.add_entry_block()
        self.values = dict(zip(self.arrays, self.block.arguments, strict=True))
        self.count = 0
        for name in constants:
            with ir.InsertionPoint(self.block):
                array = arrays[name]
                tensor = TensorType(array.shape, array.dtype.name)
                self.values[name] = build("splat", [], {"value": array.flat[0].item()}, result=tensor)

    def value(self, term: Term) -> Any:
        match term:
            case Variable(name):
                return self.values[name]
            case Number(number):
                return self._splat(number)
        assert isinstance(term, Apply)
        operands = [self.value(a) for a in term.args]
        op, kind = FUNCTIONS[term.function]
        attrs = self.attrs.get(attribute_slot(term.function), {}) | ({"kind": kind} if kind else {})
        with ir.InsertionPoint(self.block):
            self.count += 1
            return build(op, operands, attrs, onnx_nodes=(f"n{self.count}",))

    def _splat(self, number: int) -> Any:
        with ir.InsertionPoint(self.block):
            dtype = type_from_mlir(next(iter(self.values.values())).type).dtype
            return build("splat", [], {"value": float(number)}, result=TensorType((), dtype))

    def close(self, *results: Any) -> Any:
        with ir.InsertionPoint(self.block):
            func.ReturnOp(list(results))
        types = ir.FunctionType.get([a.type for a in self.block.arguments], [r.type for r in results])
        self.function.attributes["function_type"] = ir.TypeAttr.get(types)
        for key, names in (("inputs", list(self.arrays)), ("outputs", [f"y{i}" for i in range(len(results))])):
            self.function.attributes[f"fusion.{key}"] = ir.ArrayAttr.get([ir.StringAttr.get(n) for n in names])
        return self.module


def computed(module: Any) -> list[Any]:
    """The operations of a module that compute."""
    block = next(iter(module.body.operations)).operation.regions[0].blocks[0]
    return [o.operation for o in block if o.operation.name not in (*CONSTANTS, "func.return")]


def flops(module: Any) -> int:
    """FLOPs of what depends on arguments."""
    total = 0
    for op in computed(module):
        node = node_of(op)
        if not all(node.constant):
            total += semantics(node.op).flops(node)
    return total


def leaf_bytes(module: Any) -> int:
    """Bytes of arguments, for every operation that reads one."""
    return sum(
        type_from_mlir(v.type).bytes for op in computed(module) for v in op.operands if isinstance(v.owner, ir.Block)
    )


def nodes(module: Any) -> set[str]:
    block = next(iter(module.body.operations)).operation.regions[0].blocks[0]
    return {n for op in block for n in onnx_nodes(op)}


def close_to(left: Any, right: Any, tolerance: float) -> bool:
    scale = np.nanmax(np.abs(np.where(np.isfinite(left), left, 0).astype(np.float64))) + 1
    return bool(np.allclose(left / scale, right / scale, atol=tolerance, rtol=0, equal_nan=True))
