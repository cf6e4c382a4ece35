"""Convolutions and contractions as a CPU kernel loops over them: out[b, m, n] = sum over k of A[b, m, k] W[b, n, k].

n is one dimension of the result, the one that vector lanes run along; A's elements are spread over the lanes. For a
convolution n is the output channel in its group, b the group, m batch and output position, k input channel and tap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlirfuse.dialect import Node
from mlirfuse.dialect.contraction import ContractOp
from mlirfuse.dialect.indexing import Expr, Var, var
from mlirfuse.lowering.groups.box import Box
from mlirfuse.lowering.groups.group import Group, Member

__all__ = ["Product", "product_member", "product_of", "size_of", "values_of"]


@dataclass(frozen=True)
class Product:
    """Variables of the four index spaces (constants where a size is 1), and what they mean to result and operands.

    `a_at` may lie in padding, and A's elements lie at multiples of `steps` of it (dilated input);
    `a` and `w` are operand positions. All positions are affine in the variables.
    """

    b: tuple[Expr, ...]
    m: tuple[Expr, ...]
    n: Expr
    k: tuple[Expr, ...]
    out: tuple[Expr, ...]
    a: int
    w: int
    a_at: tuple[Expr, ...]
    w_at: tuple[Expr, ...]
    steps: tuple[int, ...]


def size_of(variable: Expr) -> int:
    return variable.range[1] + 1


def values_of(variables: tuple[Expr, ...], values: tuple[Expr, ...]) -> dict[Var, Expr]:
    """Bind variables; those of size 1 have none."""
    return {e.terms[0][0]: v for e, v in zip(variables, values, strict=True) if e.terms}  # type: ignore[misc]


def product_member(group: Group) -> Member | None:
    """The only convolution or contraction of a group, if there is one."""
    found = [m for m in group.members if m.node.op in ("conv", "contract")]
    return found[0] if len(found) == 1 else None


def product_of(node: Node, lane_axis: int, box: Box | None = None) -> Product | None:
    """The product whose n is dimension `lane_axis` of the result; None if both operands or neither depend on it.

    With a `box` of the result, the variables run through the box, and positions are those of whole values still.
    """
    product = _of_conv(node, lane_axis) if node.op == "conv" else _of_contract(node, lane_axis)
    return product if product is None or box is None else _within(product, box)


def _within(product: Product, box: Box) -> Product | None:
    """The product of a box of the result; None where it cuts a dimension of several variables (group and n)."""
    local: dict[Expr, Expr] = {}
    values: dict[Var, Expr] = {}
    for e, start, size in zip(product.out, box.start, box.sizes, strict=True):
        if size_of(e) == size:
            continue
        if len(e.terms) != 1:
            return None
        variable = e.terms[0][0]
        assert isinstance(variable, Var)
        local[e] = var(variable.name, size)
        values[variable] = start + local[e]

    def placed(index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        return tuple(e.substitute(values) for e in index)

    return replace(
        product,
        b=tuple(local.get(e, e) for e in product.b),
        m=tuple(local.get(e, e) for e in product.m),
        n=local.get(product.n, product.n),
        out=placed(product.out),
        a_at=placed(product.a_at),
        w_at=placed(product.w_at),
    )


def _of_conv(node: Node, lane_axis: int) -> Product | None:
    w = node.inputs[1]
    a, out, rank = node.attrs, node.out.dims, node.out.rank - 2
    if lane_axis != 1:
        return None
    groups, depth = a["groups"], w.dims[1]
    width = out[1] // groups
    group, n, batch = var("b0", groups), var("n", width), var("m0", out[0])
    at = tuple(var(f"m{i + 1}", out[2 + i]) for i in range(rank))
    channel, taps = var("k0", depth), tuple(var(f"k{i + 1}", w.dims[2 + i]) for i in range(rank))
    places = tuple(at[i] * a["strides"][i] + taps[i] * a["dilations"][i] - a["pads"][i] for i in range(rank))
    output = group * width + n
    return Product(
        (group,), (batch, *at), n, (channel, *taps), (batch, output, *at),
        0, 1, (batch, group * depth + channel, *places), (output, channel, *taps), (1, 1, *a["input_dilation"]),
    )  # fmt: skip


def _of_contract(node: Node, lane_axis: int) -> Product | None:
    *letters, result, sizes = ContractOp.terms(node)
    lane = result[lane_axis]
    # the letters along which each operand really has elements
    real = [
        {s for s, d in zip(part, t.dims, strict=True) if d > 1} for part, t in zip(letters, node.inputs, strict=True)
    ]
    if (lane in real[0]) == (lane in real[1]):
        return None
    w = 1 if lane in real[1] else 0
    a = 1 - w
    summed = [s for s in sizes if s not in result]
    if any(sizes[s] > 1 and not (s in real[0] and s in real[1]) for s in summed):
        return None
    rows = [s for s in result if s in real[a] and s not in real[w]]
    batches = [s for s in result if s != lane and s not in rows]
    where = {s: var(s, sizes[s]) for s in sizes}
    at = [
        tuple(where[s] if s in present else Expr(0) for s in part) for part, present in zip(letters, real, strict=True)
    ]
    return Product(
        tuple(where[s] for s in batches), tuple(where[s] for s in rows), where[lane], tuple(where[s] for s in summed),
        tuple(where[s] for s in result), a, w, at[a], at[w], (1,) * len(at[a]),
    )  # fmt: skip
