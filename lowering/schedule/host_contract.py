"""Register-tiled products on a CPU: what a tile is, and everything that follows from it.

    for each b of the tile:
        copy A's box, padded and with its prologue, into scratch       (if `staged`)
        for each panel of `columns` vectors of n:
            for each block of `rows` positions of m:
                accumulators[rows][columns] = sum over k of A[row, k] * W[panel, k, column]
                store epilogue(accumulators)

The last block and the last panel overlap their neighbours where sizes do not divide: nothing is masked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mlirfuse.device import Device
from mlirfuse.dialect.indexing import Expr
from mlirfuse.dialect.node import out_variables
from mlirfuse.element_types import SINGLE
from mlirfuse.lowering.groups.forward import landings
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.groups.reads import address_of
from mlirfuse.lowering.schedule.host_product import Product, product_member, product_of, size_of, values_of
from mlirfuse.lowering.schedule.packing import Packing, PackingSteps

__all__ = ["ContractPlan", "ContractTiles", "KLoop", "operand_order"]

STAGED_LIMIT = 1 << 20  # bytes of scratch, which lies on the thread's stack


@dataclass(frozen=True)
class ContractTiles:
    """A tile: `batches` of b, `block` positions of dimension `split` of m (with what lies inside it), `panels` of n.

    Registers hold `rows` x `columns` vectors of `lanes`, which run along dimension `lane_axis` of the result; `unroll`
    steps of k are written out. With split -1, m is one flat dimension. `weights` says how W is read:
    packed (a constant in panels), direct (where it lies), or gathered (each panel into scratch).
    """

    lane_axis: int
    lanes: int
    rows: int
    columns: int
    split: int
    block: int
    panels: int
    batches: int = 1
    staged: bool = False
    weights: str = "packed"
    unroll: int = 4

    def why_illegal(self, group: Group, device: Device) -> str | None:
        member = product_member(group)
        if member is None:
            return "a register tile needs exactly one convolution or contraction"
        if complaint := product_problem(group, member):
            return complaint
        if product_of(member.node, self.lane_axis) is None:
            return f"lanes along dimension {self.lane_axis} do not belong to one operand"
        plan = ContractPlan(group, self)
        if self.columns * self.lanes > plan.n:
            return f"a panel of {self.columns * self.lanes} columns is wider than the {plan.n} there are"
        if self.block > plan.m_shape[plan.split]:
            return f"tiles of {self.block} positions along a dimension of {plan.m_shape[plan.split]}"
        if self.rows > plan.tile_rows:
            return f"{self.rows} rows in registers; a tile has {plan.tile_rows}"
        if self.rows * self.columns + self.columns + 1 > device.registers_per_thread:
            return f"{self.rows} x {self.columns} accumulators do not fit {device.registers_per_thread} registers"
        if not self.staged and (why := plan.why_not_direct()):
            return f"A cannot be read where it lies: {why}"
        if plan.scratch_bytes > STAGED_LIMIT:
            return f"{plan.scratch_bytes} bytes of scratch; the limit is {STAGED_LIMIT}"
        if self.weights == "packed" and not plan.weight_is_packable:
            return "only a constant operand of which whole panels are read can be packed ahead"
        if self.weights == "direct" and not plan.weight_is_direct:
            return "neighbouring columns of W are not neighbours in memory"
        return None


def product_problem(group: Group, member: Member) -> str | None:
    """Why the outputs cannot be computed from the product's registers, or None."""
    if member.node.out.dtype not in SINGLE:
        return f"accumulators are in single precision, not {member.node.out.dtype}"
    found = landings(group, member, out_variables(member.node.out.dims))
    if isinstance(found, str):
        return found
    if any(v not in found for v in group.outputs):
        return f"an output does not depend on the {member.node.op}"
    return None


@dataclass(frozen=True)
class KLoop:
    """Some of k's dimensions walked as one: steps of A and W, in elements, for one step of the loop."""

    size: int
    a_step: int
    w_step: int


class ContractPlan:
    """What follows from a group and its tiles: sizes, strides, loops. No MLIR here."""

    def __init__(
        self, group: Group, schedule: ContractTiles, strides: Mapping[int, Sequence[int]] | None = None
    ) -> None:
        self.group, self.schedule, self._strides = group, schedule, strides or {}
        member = product_member(group)
        assert member is not None
        whole = product_of(member.node, schedule.lane_axis)
        product = product_of(member.node, schedule.lane_axis, group.box)
        assert product is not None and whole is not None
        self.member: Member = member
        self.product: Product = product
        self.whole: Product = whole  # of which a box computes a part
        self.a_value, self.w_value = member.operands[product.a], member.operands[product.w]

    def strides(self, value: int) -> Sequence[int]:
        return self._strides.get(value, self.group.strides(value))

    # -- the tile space

    @cached_property
    def n(self) -> int:
        return size_of(self.product.n)

    @cached_property
    def panel(self) -> int:
        """Columns of one panel."""
        return self.schedule.columns * self.schedule.lanes

    @cached_property
    def panel_count(self) -> int:
        return -(-self.n // self.panel)

    @cached_property
    def m_sizes(self) -> tuple[int, ...]:
        return tuple(size_of(e) for e in self.product.m)

    @cached_property
    def m_shape(self) -> tuple[int, ...]:
        """The dimensions that tiles cut: those of m, or all of m as one; a product of vectors has one row."""
        return (math.prod(self.m_sizes),) if self.schedule.split < 0 else self.m_sizes or (1,)

    @cached_property
    def split(self) -> int:
        return max(0, self.schedule.split)

    @cached_property
    def inner_rows(self) -> int:
        """Positions of m for one step of the dimension that is cut."""
        return math.prod(self.m_shape[self.split + 1 :])

    @cached_property
    def tile_rows(self) -> int:
        return self.schedule.block * self.inner_rows

    @cached_property
    def b_size(self) -> int:
        return math.prod(size_of(e) for e in self.product.b)

    @cached_property
    def tiles(self) -> tuple[int, ...]:
        """Tiles along b, along each dimension of m up to the one that is cut, and along the panels."""
        s = self.schedule
        cut = -(-self.m_shape[self.split] // s.block)
        return (-(-self.b_size // s.batches), *self.m_shape[: self.split], cut, -(-self.panel_count // s.panels))

    @cached_property
    def tile_count(self) -> int:
        return math.prod(self.tiles)

    # -- A

    def why_not_direct(self) -> str | None:
        if not self.group.in_memory(self.a_value):
            return "it is computed here"
        if any(step != 1 for step in self.product.steps):
            return "its elements are spread"
        if self.may_pad:
            return "it is padded"
        return None

    @cached_property
    def may_pad(self) -> bool:
        dims = self.group.types[self.a_value].dims
        return any(
            e.range[0] < 0 or e.range[1] > (d - 1) * s
            for e, d, s in zip(self.product.a_at, dims, self.product.steps, strict=True)
        )

    @cached_property
    def box(self) -> tuple[int, ...]:
        """Extent of A's box along each of its dimensions."""
        local = {v.terms[0][0] for v in (*self.product.k, *self._inner_m) if v.terms}
        extents = []
        for e in self.product.a_at:
            reach = 0
            for atom, factor in e.terms:
                if atom in local:
                    reach += factor * atom.range[1]
                elif self._split_m.terms and atom == self._split_m.terms[0][0]:
                    reach += factor * (self.schedule.block - 1)
            extents.append(1 + reach)
        return tuple(extents)

    @cached_property
    def _inner_m(self) -> tuple[Expr, ...]:
        return self.product.m[self.split + 1 :]

    @cached_property
    def _split_m(self) -> Expr:
        return self.product.m[self.split] if self.product.m else Expr(0)

    @cached_property
    def box_order(self) -> tuple[int, ...]:
        """A's dimensions in the memory order of its box, outermost first."""
        return operand_order(self.group, self.a_value)

    @cached_property
    def box_strides(self) -> tuple[int, ...]:
        strides, step = [0] * len(self.box), 1
        for axis in reversed(self.box_order):
            strides[axis] = step
            step *= self.box[axis]
        return tuple(strides)

    @cached_property
    def scratch_bytes(self) -> int:
        gathered = 4 * self.panel * self.k_size if self.schedule.weights == "gathered" else 0
        return gathered + (4 * math.prod(self.box) if self.schedule.staged else 0)

    # -- k

    @cached_property
    def k_size(self) -> int:
        return math.prod(size_of(e) for e in self.product.k)

    @cached_property
    def k_order(self) -> tuple[int, ...]:
        """Dimensions of k as loops are nested: by A's steps, the longest outermost."""
        return tuple(sorted(range(len(self.product.k)), key=lambda i: (-self._a_step(i), i)))

    def _a_step(self, k: int) -> int:
        strides = self.box_strides if self.schedule.staged else self.strides(self.a_value)
        return _step(self.product.a_at, strides, self.product.k[k])

    @cached_property
    def w_steps(self) -> tuple[int, ...]:
        """Elements of W, as the kernel reads it, between neighbours along each dimension of k."""
        if self.schedule.weights == "direct":
            return tuple(_step(self.product.w_at, self.strides(self.w_value), e) for e in self.product.k)
        steps, step = [0] * len(self.product.k), self.panel
        for k in reversed(self.k_order):
            steps[k] = step
            step *= size_of(self.product.k[k])
        return tuple(steps)

    @cached_property
    def k_loops(self) -> tuple[KLoop, ...]:
        """The loops over k, outermost first; dimensions that are one run of both A and W are one loop."""
        loops: list[KLoop] = []
        for k in self.k_order:
            size = size_of(self.product.k[k])
            if size == 1:
                continue
            loop = KLoop(size, self._a_step(k), self.w_steps[k])
            last = loops[-1] if loops else None
            if last and last.a_step == loop.a_step * size and last.w_step == loop.w_step * size:
                loops[-1] = KLoop(last.size * size, loop.a_step, loop.w_step)
            else:
                loops.append(loop)
        return tuple(loops)

    # -- W

    @cached_property
    def weight_is_packable(self) -> bool:
        """Whether W is a constant of which whole panels are read."""
        node = self.member.node
        constant = self.w_value in self.group.inputs and bool(node.constant) and node.constant[self.product.w]
        return constant and self.product.b == self.whole.b and self.has_whole_panels

    @property
    def has_whole_panels(self) -> bool:
        """Whether the columns are those of whole panels of W, as all of W is cut into panels."""
        if self.product.n == self.whole.n:
            return True
        cut = (self.n, size_of(self.whole.n))
        return all(size % self.panel == 0 for size in cut) and self.first_column % self.panel == Expr(0)

    @cached_property
    def first_column(self) -> Expr:
        """Of all columns of W, the first that a box of the result reads."""
        if self.product.n == self.whole.n:
            return Expr(0)
        variables = (*self.product.b, *self.product.m, self.product.n)
        corner = values_of(variables, (Expr(0),) * len(variables))
        return self.product.out[self.schedule.lane_axis].substitute(corner)

    @cached_property
    def packed_panels(self) -> int:
        """Panels of all columns of W."""
        return -(-size_of(self.whole.n) // self.panel)

    @cached_property
    def weight_is_direct(self) -> bool:
        return (
            self.group.in_memory(self.w_value)
            and _step(self.product.w_at, self.strides(self.w_value), self.product.n) == 1
        )

    @cached_property
    def packing(self) -> Packing | None:
        """[b][panel][k in loop order][column], from the logical weight."""
        if self.schedule.weights != "packed":
            return None
        product, dims = self.whole, self.group.types[self.w_value].dims
        columns = size_of(product.n)
        steps = PackingSteps(dims)
        groups = tuple(size_of(e) for e in product.b)
        if self.member.node.op == "conv":  # the first dimension is (b, n)
            steps.reshape((*groups, columns, *dims[1:]))
            b_axes: tuple[int, ...] = (0,)
            n_axis, k_axes = 1, tuple(range(2, 2 + len(product.k)))
        else:
            where = {e.terms[0][0]: axis for axis, e in enumerate(product.w_at) if e.terms}
            b_axes = tuple(where[e.terms[0][0]] for e in product.b if e.terms and e.terms[0][0] in where)
            n_axis = where[product.n.terms[0][0]]
            k_axes = tuple(where.get(e.terms[0][0], -1) if e.terms else -1 for e in product.k)
        order = (*b_axes, n_axis, *(k_axes[k] for k in self.k_order if k_axes[k] >= 0))
        rest = tuple(axis for axis in range(len(steps.shape)) if axis not in order)  # dimensions of size 1
        steps.transpose((*order, *rest))
        batches = math.prod(steps.shape[: len(b_axes)])
        steps.reshape((batches, columns, self.k_size))
        starts = (min(p * self.panel, columns - self.panel) for p in range(self.packed_panels))
        steps.take(tuple(start + i for start in starts for i in range(self.panel)), 1)
        steps.reshape((batches, self.packed_panels, self.panel, self.k_size))
        steps.transpose((0, 1, 3, 2))
        return steps.finish()

    def packed_batch(self, b: tuple[Expr, ...]) -> Expr:
        """Which of the packed batches b reads; W may lack some dimensions of b."""
        if self.member.node.op == "conv":
            return b[0]
        present = {e.terms[0][0] for e in self.whole.w_at if e.terms}
        position = Expr(0)
        for value, e in zip(b, self.product.b, strict=True):
            if e.terms and e.terms[0][0] in present:
                position = position * size_of(e) + value
        return position


def _step(index: Sequence[Expr], strides: Sequence[int], variable: Expr) -> int:
    """Elements of memory for one step of a variable."""
    if not variable.terms:
        return 0
    step = address_of(index, strides).coefficient(variable.terms[0][0])  # type: ignore[arg-type]
    assert step is not None
    return step


def operand_order(group: Group, value: int) -> tuple[int, ...]:
    """The memory order of a value, outermost first; a computed one is best read in that of its largest operand."""
    tensor = group.types[value]
    if value not in group.inputs and tensor.layout is None:
        sources = [group.types[v] for v in group.upstream(value) if v in group.inputs]
        alike = [t for t in sources if t.rank == tensor.rank]
        tensor = max(alike, key=lambda t: t.size, default=tensor)
    return tensor.layout if tensor.layout is not None else tuple(range(tensor.rank))
