"""vector: building, taking apart and rearranging vectors."""

import itertools
from typing import Any

from mlirfuse.mlir import ir
from mlirfuse.simulator.element import value_type
from mlirfuse.simulator.registry import translates
from mlirfuse.simulator.translator import Translator

_DYNAMIC = ir.ShapedType.get_dynamic_size()
REDUCTIONS = {
    "add": "np.add",
    "mul": "np.multiply",
    "minsi": "np.minimum",
    "maxsi": "np.maximum",
    "minnumf": "np.fmin",
    "maxnumf": "np.fmax",
    "minimumf": "np.minimum",
    "maximumf": "np.maximum",
    "and": "np.bitwise_and",
    "or": "np.bitwise_or",
    "xor": "np.bitwise_xor",
}


def _shape(value: Any) -> tuple[int, ...]:
    return value_type(value.type).shape


def _numbers(op: Any, name: str) -> list[int]:
    return [ir.IntegerAttr(a).value for a in ir.ArrayAttr(op.attributes[name])]


@translates("vector.broadcast", "vector.splat")
def broadcast(t: Translator, op: Any) -> None:
    """A scalar into every element, or a vector along new or unit dimensions."""
    source, result = op.operands[0], op.results[0]
    if not _shape(source):
        t.bind_splat(result, t.ref(source))
    elif t.splat(source) is not None:
        t.bind_splat(result, t.splat(source) or "")
    else:
        name = t.ref(source)
        t.define(op, f"np.broadcast_to({name}, {_shape(result)} + {name}.shape[-2:])")


@translates("vector.fma")
def fma(t: Translator, op: Any) -> None:
    """a * b + c"""
    t.elementwise(op, "fma({0}, {1}, {2})")


def _position(t: Translator, op: Any, dynamic: list[Any], rank: int) -> tuple[str, bool]:
    """(Python text of the position, whether it is known only at run time)."""
    static = list(ir.DenseI64ArrayAttr(op.attributes["static_position"]))
    if not dynamic:
        return "".join(f"{p}, " for p in static), False
    if rank != 1:
        raise t.refuse(op, "a dynamic position needs a vector of one dimension")
    return t.ref(dynamic[0]), True


@translates("vector.extract", "vector.extractelement")
def extract(t: Translator, op: Any) -> None:
    """An element or a slice of leading dimensions."""
    source, *dynamic = op.operands
    result = op.results[0]
    scalar = t.splat(source)
    if scalar is not None:
        if _shape(result):
            t.bind_splat(result, scalar)
        else:
            t.bind(result, scalar)
        return
    position, is_dynamic = _position(t, op, dynamic, len(_shape(source)))
    name = t.ref(source)
    t.define(op, f"pick({name}, {position})" if is_dynamic else f"{name}[{position or '...'}]")


@translates("vector.insert", "vector.insertelement")
def insert(t: Translator, op: Any) -> None:
    """A copy with one element or slice replaced."""
    value, target, *dynamic = op.operands
    position, is_dynamic = _position(t, op, dynamic, len(_shape(target)))
    if is_dynamic:
        t.define(op, f"put({t.ref(value)}, {t.ref(target)}, {position})")
    else:
        t.define(op, f"insert({t.ref(value)}, {t.ref(target)}, ({position}))")


@translates("vector.from_elements")
def from_elements(t: Translator, op: Any) -> None:
    """Scalars in row-major order."""
    t.define(op, f"stack(({''.join(name + ', ' for name in t.refs(op.operands))}), {_shape(op.results[0])})")


@translates("vector.to_elements")
def to_elements(t: Translator, op: Any) -> None:
    """Every element, in row-major order."""
    name, shape = t.ref(op.operands[0]), _shape(op.operands[0])
    flat = name if len(shape) == 1 else t.assign(f"{name}.reshape(-1, *{name}.shape[-2:])")
    for position, result in enumerate(op.results):
        t.bind(result, t.assign(f"{flat}[{position}]"))


@translates("vector.shuffle")
def shuffle(t: Translator, op: Any) -> None:
    """Elements (or leading slices) of two vectors by number; a run from one vector is a view."""
    first, second = op.operands
    mask = list(ir.DenseI64ArrayAttr(op.attributes["mask"]))
    size = _shape(first)[0]
    runs = all(b == a + 1 for a, b in itertools.pairwise(mask))
    if runs and (mask[-1] < size or mask[0] >= size):
        source, start = (first, mask[0]) if mask[0] < size else (second, mask[0] - size)
        t.define(op, f"{t.ref(source)}[{start}:{start + len(mask)}]")
        return
    names = t.refs((first, second))
    # A poison element (-1) may be anything.
    rows = [f"{names[0]}[{max(m, 0)}]" if m < size else f"{names[1]}[{m - size}]" for m in mask]
    t.define(op, f"stack(({''.join(row + ', ' for row in rows)}), {_shape(op.results[0])})")


@translates("vector.extract_strided_slice")
def extract_strided_slice(t: Translator, op: Any) -> None:
    """A box of a vector."""
    t.define(op, f"{t.ref(op.operands[0])}[{_box(op, _numbers(op, 'sizes'))}]")


@translates("vector.insert_strided_slice")
def insert_strided_slice(t: Translator, op: Any) -> None:
    """A copy with a box replaced."""
    value, target = op.operands
    rank = len(_shape(target))
    sizes = [1] * (rank - len(_shape(value))) + list(_shape(value))
    box = "".join(f"slice({o}, {o + n}), " for o, n in zip(_numbers(op, "offsets"), sizes, strict=True))
    t.define(op, f"insert({t.ref(value)}, {t.ref(target)}, ({box}))")


def _box(op: Any, sizes: list[int]) -> str:
    offsets, strides = _numbers(op, "offsets"), _numbers(op, "strides")
    parts = zip(offsets, sizes, strides, strict=True)
    return ", ".join(f"{o}:{o + (n - 1) * s + 1}:{s}" for o, n, s in parts)


@translates("vector.shape_cast")
def shape_cast(t: Translator, op: Any) -> None:
    """The same elements in row-major order, in another shape."""
    name = t.ref(op.operands[0])
    t.define(op, f"{name}.reshape({_shape(op.results[0])} + {name}.shape[-2:])")


@translates("vector.transpose")
def transpose(t: Translator, op: Any) -> None:
    """result dimension i is the operand's dimension permutation[i]."""
    order = list(ir.DenseI64ArrayAttr(op.attributes["permutation"]))
    rank = len(order)
    t.define(op, f"{t.ref(op.operands[0])}.transpose({(*order, rank, rank + 1)})")


@translates("vector.bitcast")
def bitcast(t: Translator, op: Any) -> None:
    """The same bits; the last dimension shrinks or grows with the element."""
    t.define(op, f"reinterpret({t.ref(op.operands[0])}, {t.constant(value_type(op.results[0].type).dtype)})")


@translates("vector.reduction")
def reduction(t: Translator, op: Any) -> None:
    """From the first element to the last, then with the accumulator."""
    kind = str(op.attributes["kind"]).removeprefix("#vector.kind<").removesuffix(">")
    if kind not in REDUCTIONS:
        raise t.refuse(op, f"the simulator does not know the reduction {kind}")
    vector, *accumulator = op.operands
    dtype = t.constant(value_type(vector.type).dtype)  # NumPy would widen integer sums
    text = f"{REDUCTIONS[kind]}.reduce({t.ref(vector)}, 0, dtype={dtype})"
    if accumulator:
        text = f"{REDUCTIONS[kind]}({text}, {t.ref(accumulator[0])})"
    t.define(op, text)
