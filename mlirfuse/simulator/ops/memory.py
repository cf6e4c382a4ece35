"""memref, affine and vector loads and stores, and the views they go through."""

from typing import Any

import numpy as np

from mlirfuse.mlir import ir
from mlirfuse.simulator.element import value_type
from mlirfuse.simulator.linear import Linear
from mlirfuse.simulator.ops.index import map_results
from mlirfuse.simulator.registry import translates
from mlirfuse.simulator.translator import MemRef, Translator

_DYNAMIC = ir.ShapedType.get_dynamic_size()


def _indices(t: Translator, op: Any, operands: list[Any]) -> list[Linear]:
    """The indices of an access: through the map of an affine one, as they are elsewhere."""
    if op.name.startswith("affine."):
        return map_results(t, op.attributes["map"], operands)
    return [t.linear(v) for v in operands]


def _access(t: Translator, op: Any, memref: MemRef, indices: list[Linear], kind: Any) -> tuple[str, str]:
    """(object that loads and stores, its index arguments) for an access of a value of type `kind`."""
    if len(kind.shape) > 1:
        raise t.refuse(op, "vectors in memory have one dimension")
    places = memref.indices(indices)
    if memref.space == "private":
        width = 0 if memref.element.shape or not kind.shape else kind.size
        return memref.name, ", ".join([str(width), *(t.sum(place) for place in places)])
    width = kind.size if kind.shape else 0
    lanes = [place.part(t.is_lane_name) for place in places]
    units = [t.sum(place - lane) for place, lane in zip(places, lanes, strict=True)]
    pattern = t.pure(f"{memref.name}.pattern({width}, ({''.join(t.sum(lane) + ', ' for lane in lanes)}))")
    return pattern, ", ".join(units)


def _promise(t: Translator, op: Any, memref: MemRef, target: str, arguments: str, site: str) -> None:
    """Check the access's `alignment` attribute, which lets the compiler use wide instructions."""
    if t.observe and memref.space != "private" and "alignment" in op.attributes:
        size = ir.IntegerAttr(op.attributes["alignment"]).value
        t.line(f"{target}.require_alignment({site}, {t.mask}, {size}{', ' if arguments else ''}{arguments})")


@translates("memref.load", "affine.load", "affine.vector_load", "vector.load")
def load(t: Translator, op: Any) -> None:
    """Scalars, or vectors along the last dimension."""
    memref = t.memrefs[hash(op.operands[0])]
    indices = _indices(t, op, list(op.operands)[1:])
    result = op.results[0]
    target, arguments = _access(t, op, memref, indices, value_type(result.type))
    site, separator = t.site(op, memref), ", " if arguments else ""
    _promise(t, op, memref, target, arguments, site)
    if t.wanted is not None and hash(result) not in t.wanted:
        if memref.space != "private":
            t.line(f"{target}.touch({site}, {t.mask}, False{separator}{arguments})")
        return
    text = f"{target}.load({site}, {t.mask}{separator}{arguments})"
    t.bind(result, t.assign(f"to_index({text})" if isinstance(result.type, ir.IndexType) else text))


@translates("memref.store", "affine.store", "affine.vector_store", "vector.store")
def store(t: Translator, op: Any) -> None:
    """Scalars, or vectors along the last dimension."""
    value, memref = op.operands[0], t.memrefs[hash(op.operands[1])]
    if memref.space == "global":
        t.written.add(t.positions[memref.name])
    indices = _indices(t, op, list(op.operands)[2:])
    target, arguments = _access(t, op, memref, indices, value_type(value.type))
    site, separator = t.site(op, memref), ", " if arguments else ""
    _promise(t, op, memref, target, arguments, site)
    if t.wanted is not None and hash(op.operands[1]) not in t.wanted:
        if memref.space != "private":
            t.line(f"{target}.touch({site}, {t.mask}, True{separator}{arguments})")
        return
    stored = t.ref(value)
    if memref.space == "private":
        width, _, arguments = arguments.partition(", ")
        stored, separator = f"{width}, {stored}", ", " if arguments else ""
    t.line(f"{target}.store({site}, {t.mask}, {stored}{separator}{arguments})")


@translates("memref.alloca", "memref.alloc")
def allocate(t: Translator, op: Any) -> None:
    """Registers or local memory; it starts as NaN (integers: -1)."""
    type_ = ir.MemRefType(op.results[0].type)
    if type_.memory_space is not None and "private" not in str(type_.memory_space):
        raise t.refuse(op, "only private memory is allocated in a kernel; shared memory is a workgroup attribution")
    element = value_type(type_.element_type)
    t.bind_buffer(
        op.results[0],
        f"rt.private({tuple(type_.shape)}, {t.constant(element.dtype)}, {element.shape})",
        "private buffer",
    )


@translates("memref.dealloc", "memref.assume_alignment")
def no_effect(t: Translator, op: Any) -> None:
    """Nothing happens; assume_alignment returns its operand."""
    for result in op.results:
        t.memrefs[hash(result)] = t.memrefs[hash(op.operands[0])]


@translates("memref.cast", "memref.memory_space_cast")
def same_buffer(t: Translator, op: Any) -> None:
    """Another type for the same elements."""
    t.memrefs[hash(op.results[0])] = t.memrefs[hash(op.operands[0])]


@translates("memref.view")
def view(t: Translator, op: Any) -> None:
    """A typed view of the dynamic shared memory, at a uniform byte offset."""
    source, offset = op.operands[0], op.operands[1]
    if hash(source) not in t.dynamic_shared:
        raise t.refuse(op, "only the dynamic shared memory can be viewed")
    if not t.is_uniform(offset):
        raise t.refuse(op, "the byte offset must be the same for all threads")
    type_ = ir.MemRefType(op.results[0].type)
    element = value_type(type_.element_type)
    shape = (*type_.shape, *element.shape)
    t.shared_item_bytes = min(t.shared_item_bytes, element.dtype.itemsize)
    extent = t.linear(offset)
    if extent.is_constant:
        end = extent.constant // element.dtype.itemsize + int(np.prod(shape, dtype=np.int64))
        t.dynamic_elements[element.dtype] = max(end, t.dynamic_elements.get(element.dtype, 0))
    text = f"rt.dynamic({t.site(op)}, {t.ref(offset)}, {t.constant(element.dtype)}, {shape})"
    t.bind_buffer(op.results[0], text, "view of dynamic shared memory")


@translates("memref.subview")
def subview(t: Translator, op: Any) -> None:
    """A box of another memref; accesses are checked against the whole buffer."""
    source = t.memrefs[hash(op.operands[0])]
    segments = list(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"]))
    if segments[3]:
        raise t.refuse(op, "strides must be static")
    dynamic = iter(list(op.operands)[1 : 1 + segments[1]])
    offsets = [
        t.linear(next(dynamic)) if offset == _DYNAMIC else Linear(constant=offset)
        for offset in ir.DenseI64ArrayAttr(op.attributes["static_offsets"])
    ]
    sizes = list(ir.DenseI64ArrayAttr(op.attributes["static_sizes"]))
    strides = list(ir.DenseI64ArrayAttr(op.attributes["static_strides"]))
    kept = _kept_dimensions(sizes, list(ir.MemRefType(op.results[0].type).shape))
    if kept is None:
        raise t.refuse(op, "the dropped dimensions must have size one")
    boxed: list[tuple[Linear, int, int | None]] = []
    for offset, step, axis in source.view:
        if axis is None:
            boxed.append((offset, step, axis))
        else:
            axis_out = kept.index(axis) if axis in kept else None
            boxed.append((offset + offsets[axis].scale(step), step * strides[axis], axis_out))
    t.memrefs[hash(op.results[0])] = MemRef(source.name, source.space, source.element, tuple(boxed), source.description)


def _kept_dimensions(sizes: list[int], shape: list[int]) -> list[int] | None:
    """Which dimensions of a box of `sizes` remain in a result of `shape`."""
    kept: list[int] = []
    for dimension, size in enumerate(sizes):
        if len(kept) < len(shape) and size == shape[len(kept)]:
            kept.append(dimension)
        elif size != 1:
            return None
    return kept if len(kept) == len(shape) else None
