"""Order along an axis: short runs sorted, and neighbouring runs merged.

Both ops give positions, from which a gather takes the values. A row of any length is sorted by one `sort` of runs that
fit a block's shared memory and a `merge` for every doubling (integrated-GPU paper, sort; merge path of Odeh et al.).
"""

import math
from typing import Any

import numpy as np

from mlirfuse.dialect.core import FusionOp, MappingType, elements
from mlirfuse.dialect.indexing import Condition, fetch, var
from mlirfuse.dialect.node import Access, Indexing, Node, TensorType, out_variables
from mlirfuse.mlir import ext, ir

__all__ = ["LONGEST_RUN", "MergeOp", "SortOp"]

Tensor = ext.Operand[Any]
LONGEST_RUN = 1024  # keys and positions of as many elements fit the shared memory of every device


class SortOp(FusionOp, name="sort"):
    """The positions (int64) along `axis` of the first `keep` elements of every run of `run` elements, in order.

    Ascending, or descending with `largest`; of equal elements the first comes first, and a NaN is larger than every
    number. A run's positions follow those of the run before it; the last run may be shorter.
    """

    x: Tensor
    axis: ir.IntegerAttr
    run: ir.IntegerAttr
    keep: ir.IntegerAttr
    largest: Any
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    @staticmethod
    def complaint(node: Node) -> str | None:
        a, x = node.attrs, node.inputs[0]
        if not 0 <= a["axis"] < x.rank or not x.size:
            return f"needs an axis of a tensor with elements, not {a['axis']} of {x}"
        if not 1 <= a["keep"] <= a["run"] <= LONGEST_RUN:
            return f"keeps {a['keep']} of runs of {a['run']}; runs have up to {LONGEST_RUN} elements"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        x, a = node.inputs[0], node.attrs
        whole, rest = divmod(x.dims[a["axis"]], a["run"])
        return _with_length(x, a["axis"], whole * a["keep"] + min(a["keep"], rest))

    @staticmethod
    def indexing(node: Node) -> Indexing:
        """A position depends on every element of its run."""
        a, out = node.attrs, out_variables(node.out.dims)
        axis, run = a["axis"], var("r", min(a["run"], node.inputs[0].dims[a["axis"]]))
        return Indexing(out, (run,), (_element(node.inputs[0], out, axis, out[axis] // a["keep"] * a["run"] + run),))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        a, parts = node.attrs, []
        for start in range(0, arrays[0].shape[a["axis"]], a["run"]):
            part = arrays[0].take(range(start, min(start + a["run"], arrays[0].shape[a["axis"]])), a["axis"])
            parts.append(_order(part, a["axis"], a["largest"]).take(range(min(a["keep"], part.shape[a["axis"]])),
                                                                    a["axis"]) + start)  # fmt: skip
        return np.concatenate(parts, a["axis"]).astype(np.int64)

    @staticmethod
    def flops(node: Node) -> int:
        """A comparison for each comparator of the bitonic network."""
        phases = math.ceil(math.log2(max(2, min(node.attrs["run"], node.inputs[0].dims[node.attrs["axis"]]))))
        return node.inputs[0].size * phases * (phases + 1) // 4


class MergeOp(FusionOp, name="merge"):
    """Merge neighbouring pairs of sorted runs: the first `keep` positions of each pair, in order.

    `order` has positions in `x` along `axis`, sorted within every `run` of them as `sort` sorts them, those of a run
    behind those of the run before it.
    """

    x: Tensor
    order: Tensor
    axis: ir.IntegerAttr
    run: ir.IntegerAttr
    keep: ir.IntegerAttr
    largest: Any
    result: ext.Result[Any]
    mapping_type = MappingType.MANY_TO_MANY

    @staticmethod
    def complaint(node: Node) -> str | None:
        (x, order), axis = node.inputs, node.attrs["axis"]
        if not 0 <= axis < x.rank or not x.size:
            return f"needs an axis of a tensor with elements, not {axis} of {x}"
        if order.dtype != "int64" or _with_length(x, axis, 1) != _with_length(order, axis, 1):
            return f"needs int64 positions along axis {axis} of {x}, not {order}"
        if not 1 <= node.attrs["keep"] <= 2 * node.attrs["run"]:
            return f"keeps {node.attrs['keep']} of pairs of runs of {node.attrs['run']}"
        return None

    @staticmethod
    def infer(node: Node) -> TensorType:
        order, a = node.inputs[1], node.attrs
        whole, rest = divmod(order.dims[a["axis"]], 2 * a["run"])
        return _with_length(order, a["axis"], whole * a["keep"] + min(a["keep"], rest))

    @staticmethod
    def indexing(node: Node) -> Indexing:
        """A position depends on its pair of runs, and on the elements at those positions."""
        a, out, (x, order) = node.attrs, out_variables(node.out.dims), node.inputs
        axis, pair = a["axis"], var("r", min(2 * a["run"], order.dims[a["axis"]]))
        place = _element(order, out, axis, out[axis] // a["keep"] * 2 * a["run"] + pair)
        chosen = fetch(1, place.index, x.dims[axis])
        return Indexing(out, (pair,), (Access((*out[:axis], chosen, *out[axis + 1 :]), place.conditions), place))

    @staticmethod
    def reference(node: Node, *arrays: Any) -> Any:
        (x, order), a, parts = arrays, node.attrs, []
        for start in range(0, order.shape[a["axis"]], 2 * a["run"]):
            part = order.take(range(start, min(start + 2 * a["run"], order.shape[a["axis"]])), a["axis"])
            places = _order(np.take_along_axis(x, part, a["axis"]), a["axis"], a["largest"])
            places = places.take(range(min(a["keep"], part.shape[a["axis"]])), a["axis"])
            parts.append(np.take_along_axis(part, places, a["axis"]))
        return np.concatenate(parts, a["axis"])

    @staticmethod
    def flops(node: Node) -> int:
        """A comparison for each step of the search along a diagonal."""
        return elements(node) * math.ceil(math.log2(node.attrs["run"] + 1))


def _with_length(tensor: TensorType, axis: int, length: int) -> TensorType:
    return TensorType((*tensor.shape[:axis], length, *tensor.shape[axis + 1 :]), "int64")


def _element(tensor: TensorType, out: tuple[Any, ...], axis: int, place: Any) -> Access:
    """The element at `place` along the axis, which the last run may lack."""
    inside = Condition(place, 0, tensor.dims[axis] - 1)
    return Access((*out[:axis], place, *out[axis + 1 :]), () if inside.always else (inside,))


def _order(x: Any, axis: int, largest: bool) -> Any:
    """Positions in order, the first of equals first, NaN as the largest."""
    if not largest:
        return np.argsort(x, axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
