"""Elements replaced, or combined with others, at positions known at run time."""

import math
from typing import Any

import numpy as np

from mlirfuse.dialect.core import FusionOp, MappingType, like_operand
from mlirfuse.dialect.indexing import Condition, Expr, var
from mlirfuse.dialect.node import Access, Indexing, Node, out_variables
from mlirfuse.mlir import ext, ir

__all__ = ["ScatterOp"]

Tensor = ext.Operand[Any]
COMBINATIONS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


class ScatterOp(FusionOp, name="scatter"):
    """x, where result[..., indices[..., t, ...], ...] is combined with updates[..., t, ...] along `axis`, for every t.

    `kind` is replace (the last of several wins), sum, prod, max or min. Indices of size 1 stand for all of the
    updates' extent; the updates may reach less far than x along the other axes. An index outside the axis changes
    nothing. Each result element looks through the indices along its axis, so that nothing is written twice.
    """

    x: Tensor
    indices: Tensor
    updates: Tensor
    axis: ir.IntegerAttr
    kind: ir.StringAttr
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    @staticmethod
    def complaint(node: Node) -> str | None:
        (x, indices, updates), axis = node.inputs, node.attrs["axis"]
        if not 0 <= axis < x.rank or not x.rank == indices.rank == updates.rank:
            return f"needs an axis of {x} and indices and updates of its rank, not {axis}, {indices} and {updates}"
        if indices.dtype != "int64" or updates.dtype != x.dtype:
            return f"needs int64 indices, and updates of the type of {x}, not {indices} and {updates}"
        if node.attrs["kind"] not in ("replace", *COMBINATIONS):
            return f"has no kind '{node.attrs['kind']}'; known: replace, {', '.join(COMBINATIONS)}"
        for a, (have, chosen, new) in enumerate(zip(x.dims, indices.dims, updates.dims, strict=True)):
            if chosen not in ((new,) if a == axis else (1, new)) or (a != axis and new > have):
                return f"cannot put {updates} at {indices} along axis {axis} of {x}"
        return None

    infer = staticmethod(like_operand)

    @staticmethod
    def indexing(node: Node) -> Indexing:
        """The element itself, and all indices and updates along its axis; an index that is not there is -1."""
        (x, indices, updates), axis, out = node.inputs, node.attrs["axis"], out_variables(node.out.dims)
        step = var("t", updates.dims[axis])
        reached = [Condition(out[a], 0, d - 1) for a, d in enumerate(updates.dims) if a != axis and d < x.dims[a]]
        place = (*out[:axis], step, *out[axis + 1 :])
        chosen = tuple(Expr(0) if d == 1 else e for d, e in zip(indices.dims, place, strict=True))
        new = tuple(Expr(0) if d == 1 else e for d, e in zip(updates.dims, place, strict=True))
        conditions = tuple(c for c in reached if not c.always)
        return Indexing(out, (step,), (Access(out), Access(chosen, conditions, -1.0), Access(new, conditions)))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        (x, indices, updates), axis = arrays, node.attrs["axis"]
        places = np.array(np.meshgrid(*(np.arange(d) for d in updates.shape), indexing="ij"))
        places[axis] = np.broadcast_to(indices, updates.shape)
        inside = (places[axis] >= 0) & (places[axis] < x.shape[axis])
        where, new, result = tuple(places[:, inside]), updates[inside], x.copy()
        if node.attrs["kind"] == "replace":
            for *place, value in zip(*where, new, strict=True):
                result[tuple(place)] = value
        else:
            COMBINATIONS[node.attrs["kind"]].at(result, where, new)
        return result

    @staticmethod
    def flops(node: Node) -> int:
        """A comparison for each element and each index along its axis."""
        return math.prod(node.out.dims) * node.inputs[2].dims[node.attrs["axis"]]
