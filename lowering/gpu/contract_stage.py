"""A register-tiled contraction through shared memory: convolution (implicit GEMM) and matrix products.

    for k0 = 0, block_k, ...:
        barrier;  A_shared[block_k][block_m] = a(m, k);  B_shared[block_k][block_n] = b(n, k);  barrier
        for k in block_k:  acc[thread_n][thread_m] += B_shared[k][n] * A_shared[k][m]
    out = epilogue(acc)

A thread's m are vectors of four, `4 * m_threads` apart, so that neighbouring threads read and write
neighbouring words; its n are groups of four, likewise apart.
"""

from __future__ import annotations

from typing import Any

from mlirfuse.dialect import Access
from mlirfuse.dialect.indexing import Condition, Expr, Var
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.gpu.team_stage import store_from_registers
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.schedule.problem import ContractProblem, contract_problem
from mlirfuse.lowering.schedule.simt import ContractTiles
from mlirfuse.mlir import ir, vector

__all__ = ["emit_contract"]

A, B = 0, 1  # shared arrays
QUAD = 4


class _Tile:
    """The tile's indices and the two operands' accesses in kernel variables."""

    def __init__(self, frame: Frame, schedule: ContractTiles) -> None:
        anchor = frame.group.anchor
        assert anchor is not None
        self.frame, self.schedule, self.anchor = frame, schedule, anchor
        self.problem: ContractProblem = contract_problem(anchor.node)
        self.m0 = frame.block[0] * schedule.block_m
        self.n0 = frame.block[1] * schedule.block_n
        self.batch = frame.block[2]
        self.m_threads = schedule.block_m // schedule.thread_m
        self.n_threads = schedule.block_n // schedule.thread_n
        self.quads = schedule.thread_m // QUAD
        self.n_quads = schedule.thread_n // QUAD
        self.vector_type = ir.VectorType.get([QUAD], ir.F32Type.get())

    def values(self, m: Expr | None = None, n: Expr | None = None, k: Expr | None = None) -> dict[Var, Expr]:
        """Bind the problem's linear variables."""
        bound = zip(self.problem.variables, (self.batch, m, n, k), strict=True)
        return {e.terms[0][0]: v for e, v in bound if v is not None and e.terms}  # type: ignore[misc]

    # -- copy in

    def copy_in(self, k0: Expr) -> None:
        """Fill both shared arrays for the slice of the reduction that starts at `k0`."""
        s = self.schedule
        self._copy(A, s.block_m, s.block_m, 1, k0, self._read_a)
        width = QUAD if self._b_is_contiguous() else 1
        self._copy(B, s.block_n // width, s.block_n, width, k0, self._read_b)

    def _copy(self, array: int, columns: int, full: int, width: int, k0: Expr, read: Any) -> None:
        frame, builder, total = self.frame, self.frame.builder, self.schedule.block_k * columns
        rounds = -(-total // frame.threads)

        def one(i: Expr, _: list[Any]) -> list[Any]:
            element = i * frame.threads + frame.thread
            inside = Condition(element, 0, total - 1)

            def fill() -> None:
                row, column = self._split(element, columns, total)
                frame.shared_store(array, row, column * width, read(k0 + row, column * width, width))

            builder.when([inside], fill)
            return []

        builder.loop(rounds, "copy", [], one)

    def _split(self, element: Expr, columns: int, total: int) -> tuple[Expr, Expr]:
        if element.range[1] >= total:  # guarded: the range is what the guard leaves
            narrowed = Expr(0, ((Var(self.frame.builder.fresh_name("e"), 0, total - 1), 1),))
            self.frame.builder.bind(narrowed, self.frame.builder.index(element), affine=False)
            element = narrowed
        return element // columns, element % columns

    def _read_a(self, k: Expr, column: Expr, width: int) -> Any:
        m = self.m0 + column
        return self._read(0, self.problem.a, m, self.problem.m, k, self._bind_m, width)

    def _read_b(self, k: Expr, column: Expr, width: int) -> Any:
        n = self.n0 + column
        return self._read(1, self.problem.b_operand, n, self.problem.n, k, self._bind_n, width)

    def _read(self, position: int, access: Access, free: Expr, extent: int, k: Expr, bind: Any, width: int) -> Any:
        """The operand at (free, k); zero outside, so that ragged edges add nothing."""
        frame = self.frame
        conditions = [c for c in (Condition(free, 0, extent - width), Condition(k, 0, self.problem.k - 1)) if not c.always]
        scalar_type = ir.F32Type.get()
        wanted = scalar_type if width == 1 else self.vector_type

        def read() -> Any:
            inner_free = self._within(free, extent - width, width)
            inner_k = self._within(k, self.problem.k - 1, 1)
            lane = Expr(0, ((Var("lane", 0, width - 1), 1),)) if width > 1 else None
            values = bind(inner_free + lane if lane is not None else inner_free, inner_k)
            evaluator = frame.evaluator(lane=lane, width=width)
            index = tuple(e.substitute(values) for e in access.index)
            guards = [c.substitute(values) for c in access.conditions]
            return evaluator.vectorized(evaluator.guarded(guards, index, self.anchor.operands[position], 0.0))

        return frame.builder.when(conditions, read, lambda: frame.builder.constant(0.0, wanted))

    def _within(self, e: Expr, largest: int, grain: int) -> Expr:
        """`e` under a name whose range is what the guard leaves of it."""
        if e.range[1] <= largest:
            return e
        if largest == 0:
            return Expr(0)
        builder = self.frame.builder
        quotient = e // grain
        narrowed = Expr(0, ((Var(builder.fresh_name("w"), 0, largest // grain), 1),))
        builder.bind(narrowed, builder.index(quotient), affine=False)
        return narrowed * grain

    def _bind_m(self, m: Expr, k: Expr) -> dict[Var, Expr]:
        return self.values(m=m, k=k)

    def _bind_n(self, n: Expr, k: Expr) -> dict[Var, Expr]:
        return self.values(n=n, k=k)

    def _b_is_contiguous(self) -> bool:
        """Whether four neighbouring n lie side by side in the second operand, aligned."""
        operand = self.anchor.operands[1]
        buffer = self.frame.buffers.get(operand)
        if buffer is None or self.problem.n % QUAD or buffer.aligned % QUAD or self.problem.b_operand.conditions:
            return False
        n = self.problem.variables[2]
        if n.is_constant:
            return False
        address = buffer.address(self.problem.b_operand.index)
        lanes = Expr(0, ((Var("lane", 0, QUAD - 1), 1),))
        quarter = Expr(0, ((Var("quarter", 0, self.problem.n // QUAD - 1), 1),)) if self.problem.n > QUAD else Expr(0)
        moved = address.substitute({n.terms[0][0]: quarter * QUAD + lanes})  # type: ignore[dict-item]
        return moved.coefficient(lanes.terms[0][0]) == 1  # type: ignore[arg-type]

    # -- multiply

    def thread_m(self, quad: int) -> Expr:
        """Where a thread's vector of m starts inside the tile."""
        return (self.frame.thread % self.m_threads) * QUAD + quad * QUAD * self.m_threads

    def thread_n(self, quad: int) -> Expr:
        """Where a thread's group of four n starts inside the tile."""
        return (self.frame.thread // self.m_threads) * QUAD + quad * QUAD * self.n_threads

    def multiply(self, accumulators: list[Any]) -> list[Any]:
        """One slice of the reduction: outer products of four-element vectors."""
        frame = self.frame

        def step(k: Expr, carried: list[Any]) -> list[Any]:
            a = [frame.shared_load(A, k, self.thread_m(q), QUAD) for q in range(self.quads)]
            b = [frame.shared_load(B, k, self.thread_n(q), QUAD) for q in range(self.n_quads)]
            out = []
            for n in range(self.schedule.thread_n):
                element = vector.ExtractOp(b[n // QUAD], [], [n % QUAD]).result
                spread = vector.BroadcastOp(self.vector_type, element).result
                out += [scalar.fused_multiply_add(spread, a[q], carried[n * self.quads + q]) for q in range(self.quads)]
            return out

        return frame.builder.loop(self.schedule.block_k, "k", accumulators, step)

    # -- copy out

    def copy_out(self, accumulators: list[Any]) -> None:
        """The epilogue on each vector of four m, or element by element where rows end inside a vector."""
        whole = self.problem.m % QUAD == 0
        for n in range(self.schedule.thread_n):
            at_n = self.n0 + self.thread_n(n // QUAD) + n % QUAD
            for quad in range(self.quads):
                at_m = self.m0 + self.thread_m(quad)
                value = accumulators[n * self.quads + quad]
                if whole:
                    self._store(at_m, at_n, value, QUAD)
                else:
                    for i in range(QUAD):
                        self._store(at_m + i, at_n, vector.ExtractOp(value, [], [i]).result, 1)

    def _store(self, m: Expr, n: Expr, value: Any, width: int) -> None:
        conditions = [Condition(m, 0, self.problem.m - width), Condition(n, 0, self.problem.n - 1)]

        def store() -> None:
            lane = Expr(0, ((Var("lane", 0, width - 1), 1),)) if width > 1 else None
            inner_m = self._within(m, self.problem.m - width, width)
            inner_n = self._within(n, self.problem.n - 1, 1)
            values = self.values(m=inner_m + lane if lane is not None else inner_m, n=inner_n)
            index = tuple(e.substitute(values) for e in self.problem.out)
            store_from_registers(self.frame, self.anchor, index, value, lane, width)

        self.frame.builder.when([c for c in conditions if not c.always], store)


def emit_contract(frame: Frame, schedule: ContractTiles) -> None:
    """Emit the body of a contraction kernel."""
    tile = _Tile(frame, schedule)
    builder, k = frame.builder, tile.problem.k
    zero = builder.constant(0.0, tile.vector_type)
    count = schedule.thread_n * tile.quads

    def slice_(i: Expr, carried: list[Any]) -> list[Any]:
        frame.barrier()
        tile.copy_in(i * schedule.block_k)
        frame.barrier()
        return tile.multiply(carried)

    accumulators = builder.loop(-(-k // schedule.block_k), "slice", [zero] * count, slice_)
    tile.copy_out(accumulators)
