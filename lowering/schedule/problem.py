"""Convolutions and contractions in one normal form: C[b, m, n] = sum over k of A[b, m, k] * B[b, n, k].

For a convolution, b is the channel group, m runs over batch and output positions, n over the output channels of the
group and k over input channels and taps (implicit GEMM: A is never formed).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlirfuse.dialect import Access, Node, semantics
from mlirfuse.dialect.indexing import Expr, Var, delinearize, var
from mlirfuse.lowering.groups.box import Box, Span

__all__ = ["VECTOR", "ContractProblem", "contract_problem", "holds_whole_groups", "lies_in_quads"]

VECTOR = 4  # elements of a vector


@dataclass(frozen=True)
class ContractProblem:
    """Sizes of the four index spaces, and the accesses in their terms.

    `b`, `m`, `n` and `k` are the variables of the linear positions (constants where the size is 1); `out` is the
    result index.
    """

    sizes_b: tuple[int, ...]
    sizes_m: tuple[int, ...]
    sizes_n: tuple[int, ...]
    sizes_k: tuple[int, ...]
    out: tuple[Expr, ...]
    a: Access
    b_operand: Access

    @property
    def batch(self) -> int:
        return math.prod(self.sizes_b)

    @property
    def m(self) -> int:
        return math.prod(self.sizes_m)

    @property
    def n(self) -> int:
        return math.prod(self.sizes_n)

    @property
    def k(self) -> int:
        return math.prod(self.sizes_k)

    @property
    def variables(self) -> tuple[Expr, Expr, Expr, Expr]:
        """The linear b, m, n and k."""
        return var("b", self.batch), var("m", self.m), var("n", self.n), var("k", self.k)


def contract_problem(
    node: Node, *, taps_first: bool = False, box: Box | None = None, part: Span | None = None
) -> ContractProblem:
    """The normal form of a `conv` or `contract`, or of a `box` of its result.

    A convolution's k runs over (channel, taps); with `taps_first` over (taps, channel), so that a slice of
    neighbouring k that divides the channels lies under one tap. The accesses are in terms of the whole result and of
    the variables in which the box starts; a box of a grouped convolution has whole groups. A `part` of the first
    dimension that is reduced (a convolution's channels) stands for the whole of it.
    """
    indexing = semantics(node.op).indexing(node)
    depths = list(indexing.reduction_sizes)
    depths[:1] = [part.size] if part is not None else depths[:1]
    sizes = list(node.out.dims if box is None else box.sizes)
    start = (Expr(0),) * len(sizes) if box is None else box.start
    if node.op == "conv":
        assert holds_whole_groups(node, box), "a box of a grouped convolution has whole groups"
        channels = sizes[1] if node.attrs["groups"] == 1 else node.out.dims[1] // node.attrs["groups"]
        groups = sizes[1] // channels
        roles = ["m", "n", *["m"] * (len(sizes) - 2)]
        reduction = _rotated(indexing.reduction, taps_first)
        pieces = {
            "b": [groups],
            "n": [channels],
            "m": [sizes[0], *sizes[2:]],
            "k": _rotated(depths, taps_first),
        }
    else:
        a_vars = _variables(indexing.operands[0])
        b_vars = _variables(indexing.operands[1])
        roles = [
            "b" if (v := _variable(e)) in a_vars and v in b_vars else "n" if v in b_vars else "m" for e in indexing.out
        ]
        pieces = {role: [s for s, r in zip(sizes, roles, strict=True) if r == role] for role in "bmn"}
        pieces["k"] = depths
        reduction = list(indexing.reduction)
    linear = {role: var(role, math.prod(pieces[role])) for role in "bmnk"}
    parts = {role: list(delinearize(linear[role], tuple(pieces[role]))) for role in "bmnk"}
    values: dict[Var, Expr] = {}
    if node.op == "conv":
        local = {1: parts["b"][0] * channels + parts["n"][0]}
        local |= dict(zip([0, *range(2, len(sizes))], parts["m"], strict=True))
    else:
        queues = {role: iter(parts[role]) for role in "bmn"}
        local = {axis: next(queues[role]) for axis, role in enumerate(roles)}
    for axis, e in enumerate(indexing.out):
        values |= _bind(e, start[axis] + local[axis])
    for e, position in zip(reduction, parts["k"], strict=True):
        first = part.start if part is not None and e is indexing.reduction[0] else 0
        values |= _bind(e, position + first)

    def moved(access: Access) -> Access:
        return Access(
            tuple(e.substitute(values) for e in access.index),
            tuple(c.substitute(values) for c in access.conditions),
            access.fill,
        )

    return ContractProblem(
        tuple(pieces["b"]),
        tuple(pieces["m"]),
        tuple(pieces["n"]),
        tuple(pieces["k"]),
        tuple(e.substitute(values) for e in indexing.out),
        moved(indexing.operands[0]),
        moved(indexing.operands[1]),
    )


def holds_whole_groups(node: Node, box: Box | None) -> bool:
    """Whether a box of the result of a convolution (or of another op) has all channels of each group that it has."""
    groups = node.attrs.get("groups", 1) if node.op == "conv" else 1
    if groups == 1 or box is None:
        return True
    width, start = node.out.dims[1] // groups, box.start[1]
    return all(n % width == 0 for n in (box.sizes[1], start.constant, *(factor for _, factor in start.terms)))


def lies_in_quads(address: Expr, free: Expr, extent: int) -> bool:
    """Whether every four neighbours along `free`, a variable of so many values, lie side by side, aligned."""
    if extent % VECTOR or free.is_constant:
        return False
    variable = free.terms[0][0]
    assert isinstance(variable, Var)
    lane = Var("lane", 0, VECTOR - 1)
    quad = Expr(0, ((Var("quad", 0, extent // VECTOR - 1), 1),)) if extent > VECTOR else Expr(0)
    moved = address.substitute({variable: quad * VECTOR + Expr(0, ((lane, 1),))})
    if moved.coefficient(lane) != 1:
        return False
    rest = moved.substitute({lane: Expr(0)})
    return rest.constant % VECTOR == 0 and all(factor % VECTOR == 0 for _, factor in rest.terms)


def _rotated(items: Sequence[Any], taps_first: bool) -> list[Any]:
    """(channel, taps...) or (taps..., channel)."""
    return [*items[1:], items[0]] if taps_first else list(items)


def _variable(e: Expr) -> Var | None:
    return next(iter(e.variables()), None)


def _variables(access: Access) -> frozenset[Var]:
    return frozenset(v for e in access.index for v in e.variables())


def _bind(e: Expr, value: Expr) -> dict[Var, Expr]:
    """Bind the variable that `e` is; a dimension of size 1 has none."""
    variable = _variable(e)
    return {} if variable is None else {variable: value}
