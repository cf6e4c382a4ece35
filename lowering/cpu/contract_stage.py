"""A convolution or contraction in register tiles, its epilogue applied before anything is stored.

accumulators[rows][columns] = 0
for k: accumulators[i][j] += spread(A[row i, k]) * W[panel, k, vector j]
for i, j: out[row i, panel + vector j] = epilogue(accumulators[i][j])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlirfuse.dialect.indexing import Expr, Var, delinearize, minimum
from mlirfuse.lowering.cpu.copy_in import Box, copy_in
from mlirfuse.lowering.cpu.frame import Frame
from mlirfuse.lowering.groups.reads import address_of
from mlirfuse.lowering.kernel.landing import store_landings
from mlirfuse.lowering.kernel.point import Buffer
from mlirfuse.lowering.schedule.host_contract import ContractPlan, ContractTiles
from mlirfuse.lowering.schedule.host_product import size_of, values_of
from mlirfuse.mlir import affine, arith, ir, memref, vector

__all__ = ["emit_contract"]


def emit_contract(frame: Frame, schedule: ContractTiles) -> None:
    """Emit the body of a contraction kernel."""
    strides = {v: b.strides for v, b in frame.operands.items() if isinstance(b, Buffer)}
    plan = ContractPlan(frame.group, schedule, strides)
    stage = _Stage(frame, plan)
    batch_tile, *m_tiles, panel_tile = delinearize(frame.tile, plan.tiles)
    first = stage.clamped(batch_tile * schedule.batches, plan.b_size - schedule.batches)
    origin = (*m_tiles[:-1], stage.clamped(m_tiles[-1] * schedule.block, plan.m_shape[plan.split] - schedule.block))
    frame.span(first, first + schedule.batches, "b", lambda b: stage.batch(b, origin, panel_tile))


class _Stage:
    """The loops inside one tile, outermost first; each method is one of them."""

    def __init__(self, frame: Frame, plan: ContractPlan) -> None:
        self.frame, self.plan, self.schedule = frame, plan, plan.schedule
        self.builder = frame.builder
        self.scratch = frame.scratch(math.prod(plan.box), "float32") if self.schedule.staged else None
        gathered = self.schedule.weights == "gathered"
        self.panel_scratch = frame.scratch(plan.panel * plan.k_size, "float32") if gathered else None
        self.vector_type = ir.VectorType.get([self.schedule.lanes], ir.F32Type.get())

    def clamped(self, e: Expr, largest: int) -> Expr:
        """min(e, largest): what comes last overlaps what comes before it."""
        return e if e.range[1] <= largest else self.frame.named(minimum(e, largest), "first")

    # -- one b: stage A's box, then the panels

    def batch(self, b: Expr, origin: tuple[Expr, ...], panel_tile: Expr) -> None:
        plan = self.plan
        self.b = delinearize(b, tuple(size_of(e) for e in plan.product.b))
        self.b_values = values_of(plan.product.b, self.b)
        self.origin = origin
        if self.scratch is not None:
            copy_in(self.frame, self._box(), self.scratch, self.schedule.lanes)
            self.builder.forget()
        panels = min(self.schedule.panels, plan.panel_count)
        start = self.clamped(panel_tile * panels, plan.panel_count - panels)
        self.frame.span(start, start + panels, "panel", self.panel)

    def _box(self) -> Box:
        """A's box of this tile: it starts where the tile's first row reads its first tap."""
        plan = self.plan
        corner = dict(self.b_values) | self._m_values(
            (*self.origin, *(Expr(0) for _ in plan.m_shape[plan.split + 1 :]))
        )
        corner |= values_of(plan.product.k, tuple(Expr(0) for _ in plan.product.k))
        start = tuple(e.substitute(corner) for e in plan.product.a_at)
        pads = plan.may_pad or any(s != 1 for s in plan.product.steps)
        return Box(plan.a_value, start, plan.box, plan.product.steps, plan.box_order, plan.box_strides, pads)

    def _m_values(self, index: tuple[Expr, ...]) -> dict[Var, Expr]:
        """The variables of m for an index in the dimensions that tiles cut."""
        plan = self.plan
        parts = delinearize(index[0], plan.m_sizes) if self.schedule.split < 0 else index
        return values_of(plan.product.m, tuple(parts)[: len(plan.product.m)])

    # -- one panel: find or gather its weights, then the blocks of rows

    def panel(self, panel: Expr) -> None:
        plan, product = self.plan, self.plan.product
        self.n0 = panel * plan.panel
        if plan.n % plan.panel:
            self.n0 = self.clamped(self.n0, plan.n - plan.panel)
        match self.schedule.weights:
            case "packed":
                self.w_memory = self.frame.operands[plan.w_value].memory
                number = plan.packed_batch(self.b) * plan.packed_panels + plan.first_column // plan.panel + panel
                self.w_base = number * (plan.k_size * plan.panel)
            case "direct":
                self.w_memory = self.frame.operands[plan.w_value].memory
                values = self.b_values | values_of((product.n,), (self.n0,))
                values |= values_of(product.k, tuple(Expr(0) for _ in product.k))
                start = address_of([e.substitute(values) for e in product.w_at], plan.strides(plan.w_value))
                self.w_base = start + self.frame.operands[plan.w_value].offset
            case _:
                self.w_memory, self.w_base = self.panel_scratch, Expr(0)
                self._gather_panel()
        if not self.builder.is_affine(self.w_base):
            self.w_base = self.frame.named(self.w_base, "weights")
        blocks = -(-plan.tile_rows // self.schedule.rows)
        self.frame.span(Expr(0), Expr(blocks), "block", self.block)

    def _gather_panel(self) -> None:
        """W's panel into scratch: [k in loop order][column]."""
        plan, product = self.plan, self.plan.product
        target = Buffer(self.panel_scratch, (1,), "float32", Expr(0), 0)
        ks: list[Expr] = [Expr(0)] * len(product.k)

        def column(position: Expr, lane: Expr | None, width: int) -> None:
            evaluator = self.frame.evaluator(lane=lane, width=width)
            values = self.b_values | values_of((product.n,), (self.n0 + position,)) | values_of(product.k, tuple(ks))
            value = evaluator.value(plan.w_value, tuple(e.substitute(values) for e in product.w_at))
            at = sum((k * step for k, step in zip(ks, plan.w_steps, strict=True)), start=position)
            target.store(evaluator, (at,), evaluator.vectorized(value))

        def nest(remaining: tuple[int, ...]) -> None:
            if not remaining:
                self.frame.row(plan.panel, self.schedule.lanes, column, overlap=True)
                return

            def one(i: Expr) -> None:
                ks[remaining[0]] = i
                nest(remaining[1:])

            self.frame.span(Expr(0), Expr(size_of(product.k[remaining[0]])), "k", one)

        nest(plan.k_order)
        self.builder.forget()

    # -- one block of rows: accumulate, then store

    def block(self, block: Expr) -> None:
        rows = self.schedule.rows
        q = self.clamped(block * rows, self.plan.tile_rows - rows) if self.plan.tile_rows % rows else block * rows
        m_values = [self._row(q + i) for i in range(rows)]
        totals = self._accumulate([self._a_address(q + i, values) for i, values in enumerate(m_values)])
        for i, values in enumerate(m_values):
            for j in range(self.schedule.columns):
                self._store(values, j, totals[i * self.schedule.columns + j])

    def _row(self, q: Expr) -> dict[Var, Expr]:
        """The variables of m for row q of the tile."""
        plan = self.plan
        cut, *inner = delinearize(q, (self.schedule.block, *plan.m_shape[plan.split + 1 :]))
        return self._m_values((*self.origin[:-1], self.origin[-1] + cut, *inner))

    def _a_address(self, q: Expr, m_values: dict[Var, Expr]) -> Expr:
        """Where row q's A starts (k = 0), in scratch or in the operand."""
        plan, product = self.plan, self.plan.product
        values = values_of(product.k, tuple(Expr(0) for _ in product.k))
        if self.scratch is None:
            values |= self.b_values | m_values
            start = address_of([e.substitute(values) for e in product.a_at], plan.strides(plan.a_value))
            return start + self.frame.operands[plan.a_value].offset
        corner = values | values_of((*product.b, *product.m), tuple(Expr(0) for _ in (*product.b, *product.m)))
        cut, *inner = delinearize(q, (self.schedule.block, *plan.m_shape[plan.split + 1 :]))
        local = (*(Expr(0) for _ in self.origin[:-1]), cut, *inner)
        values |= self._m_values(local)
        # relative to the box: where it starts is the same for all rows
        at = [e.substitute(corner | values) - e.substitute(corner) for e in product.a_at]
        return address_of(at, plan.box_strides)

    def _accumulate(self, addresses: list[Expr]) -> list[Any]:
        """The loops over k with every accumulator in a register."""
        bases = self._bases(addresses)
        memory = self.scratch if self.scratch is not None else self.frame.operands[self.plan.a_value].memory
        zero = self.builder.constant(0.0, self.vector_type)
        loops = self.plan.k_loops

        def step(a_offset: Expr, w_offset: Expr, totals: list[Any]) -> list[Any]:
            weights = [
                self._load(self.w_memory, self.w_base + w_offset + j * self.schedule.lanes, self.schedule.lanes)
                for j in range(self.schedule.columns)
            ]
            done = []
            for i, base in enumerate(bases):
                element = self._load(memory, base + a_offset, 1)
                spread = vector.BroadcastOp(self.vector_type, element).result
                for j, weight in enumerate(weights):
                    done.append(vector.FMAOp(spread, weight, totals[i * len(weights) + j]).result)
            return done

        def nest(level: int, a_offset: Expr, w_offset: Expr, totals: list[Any]) -> list[Any]:
            if level == len(loops):
                return step(a_offset, w_offset, totals)
            loop = loops[level]

            def at(position: Expr, carried: list[Any]) -> list[Any]:
                return nest(level + 1, a_offset + position * loop.a_step, w_offset + position * loop.w_step, carried)

            unroll = self.schedule.unroll if level == len(loops) - 1 else 1
            return self._unrolled(loop.size, unroll, totals, at)

        return nest(0, Expr(0), Expr(0), [zero] * (len(bases) * self.schedule.columns))

    def _unrolled(
        self, size: int, unroll: int, totals: list[Any], at: Callable[[Expr, list[Any]], list[Any]]
    ) -> list[Any]:
        """A loop whose body is `unroll` steps; the rest follows it."""
        whole = size // unroll * unroll if size > 2 * unroll else 0

        def body(i: Expr, carried: list[Any]) -> list[Any]:
            for u in range(unroll):
                carried = at(i + u, carried)
            return carried

        if whole:
            totals = self.builder.loop(whole, "k", totals, body, step=unroll)
        for position in range(whole, size):
            totals = at(Expr(position), totals)
        return totals

    def _bases(self, addresses: list[Expr]) -> list[Expr]:
        """Short names of the rows' addresses; rows at constant distances share one."""
        named: list[tuple[Expr, Expr]] = []
        bases = []
        for address in addresses:
            for known, name in named:
                distance = address - known
                if distance.is_constant:
                    bases.append(name + distance.constant)
                    break
            else:
                name = address if self.builder.is_affine(address) else self.frame.named(address, "row")
                named.append((address, name))
                bases.append(name)
        return bases

    def _load(self, memory: Any, address: Expr, width: int) -> Any:
        """Elements in single precision, however they are stored."""
        raw = self._load_stored(memory, address, width)
        single = self.vector_type if width > 1 else self.vector_type.element_type
        return raw if raw.type == single else arith.ExtFOp(single, raw).result

    def _load_stored(self, memory: Any, address: Expr, width: int) -> Any:
        element = memory.type.element_type
        kind = ir.VectorType.get([width], element) if width > 1 else element
        if self.builder.is_affine(address):
            affine_map, operands = self.builder.affine_map(address)
            if width > 1:
                return affine.AffineVectorLoadOp(kind, memory, operands, affine_map).result
            return affine.AffineLoadOp(kind, memory, operands, affine_map).result
        at = [self.builder.index(address)]
        return vector.LoadOp(kind, memory, at).result if width > 1 else memref.LoadOp(memory, at).result

    def _store(self, m_values: dict[Var, Expr], column: int, total: Any) -> None:
        """Run the epilogue on one accumulator and store every output."""
        plan, product, lanes = self.plan, self.plan.product, self.schedule.lanes
        lane = Expr(0, ((Var("lane", 0, lanes - 1), 1),))
        values = self.b_values | m_values | values_of((product.n,), (self.n0 + lane + column * lanes,))
        index = tuple(e.substitute(values) for e in product.out)
        frame = self.frame
        store_landings(frame.group, plan.member, frame.evaluator, frame.store_outputs, index, total, lane, lanes)
