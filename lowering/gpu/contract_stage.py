"""A register-tiled contraction through shared memory: convolution (implicit GEMM) and matrix products.

    A_shared[0], B_shared[0] = slice 0;  barrier
    for each pair of slices i, i + 1 (of zeros beyond the last):
        registers = a(m, k), b(n, k) of slice i + 1          (in flight while slice i is multiplied)
        for k in block_k:  acc[thread_n][thread_m] += B_shared[0][k][n] * A_shared[0][k][m]
        A_shared[1], B_shared[1] = registers;  barrier
        the same with the buffers exchanged, for slices i + 1 and i + 2
    the last slice, if their number is odd
    out = epilogue(acc)

A thread's m are vectors of four, `4 * m_threads` apart, so that neighbouring threads read and write
neighbouring words; its n are groups of four, likewise apart. Where groups of threads share a slice, each goes through
its part of block_k, and the epilogue adds what they have. An operand that already lies in shared memory as a tile
of it would is read where it is, and the first array is not there.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from mlirfuse.dialect import Access
from mlirfuse.dialect.indexing import Condition, Expr, Var, minimum
from mlirfuse.lowering.gpu.frame import Frame
from mlirfuse.lowering.gpu.team_stage import store_from_registers
from mlirfuse.lowering.kernel import scalar
from mlirfuse.lowering.kernel.point import Buffer
from mlirfuse.lowering.schedule.problem import ContractProblem, contract_problem, lies_in_quads
from mlirfuse.lowering.schedule.simt import VECTOR as QUAD
from mlirfuse.lowering.schedule.simt import ContractTiles
from mlirfuse.mlir import arith, ir, vector

__all__ = ["add_products", "emit_contract", "keep_sums", "kept_sums", "no_sums", "store_sums"]

A, B, C = 0, 1, 2  # shared arrays


class _Tile:
    """The tile's indices and the two operands' accesses in kernel variables."""

    def __init__(self, frame: Frame, schedule: ContractTiles) -> None:
        anchor = frame.group.anchor
        assert anchor is not None
        self.frame, self.schedule, self.anchor = frame, schedule, anchor
        self.problem: ContractProblem = contract_problem(
            anchor.node, taps_first=anchor.node.op == "conv", box=frame.group.box, part=frame.group.part
        )
        self.m0 = frame.block[0] * schedule.block_m
        self.n0 = frame.block[1] * schedule.block_n
        self.batch = frame.block[2]
        self.m_threads = schedule.block_m // schedule.thread_m
        self.n_threads = schedule.block_n // schedule.thread_n
        self.quads = schedule.thread_m // QUAD
        self.n_quads = schedule.thread_n // QUAD
        self.group = frame.thread // (self.m_threads * self.n_threads) if schedule.k_groups > 1 else Expr(0)
        self.vector_type = ir.VectorType.get([QUAD], ir.F32Type.get())
        self.resident = frame.shared[A] is None
        self._quads: dict[int, Expr] = {}

    def values(self, m: Expr | None = None, n: Expr | None = None, k: Expr | None = None) -> dict[Var, Expr]:
        """Bind the problem's linear variables."""
        bound = zip(self.problem.variables, (self.batch, m, n, k), strict=True)
        return {e.terms[0][0]: v for e, v in bound if v is not None and e.terms}  # type: ignore[misc]

    # -- copy in

    def fetch(self, k0: Expr) -> list[tuple[int, Expr, Expr, Any]]:
        """Start reading the slice of the reduction at `k0`: this thread's share of both operands, in registers.

        Each entry is the shared array it belongs to, the row and column there, and the value.
        """
        s, p = self.schedule, self.problem
        a = QUAD if self._in_quads(0, p.a, p.variables[1], p.m) else 1
        b = QUAD if self._in_quads(1, p.b_operand, p.variables[2], p.n) else 1
        first = [] if self.resident else self._fetch(A, s.block_m // a, a, k0, self._read_a)
        return [*first, *self._fetch(B, s.block_n // b, b, k0, self._read_b)]

    def _fetch(self, array: int, columns: int, width: int, k0: Expr, read: Any) -> list[tuple[int, Expr, Expr, Any]]:
        frame, total = self.frame, self.schedule.block_k * columns
        scalar_type = ir.F32Type.get()
        wanted = scalar_type if width == 1 else self.vector_type
        found = []
        for i in range(-(-total // frame.threads)):
            element = frame.thread + i * frame.threads
            row, column = self._split(element, columns)
            value = frame.builder.when(
                [Condition(element, 0, total - 1)],
                partial(read, k0 + row, column * width, width),
                lambda: frame.builder.constant(0.0, wanted),
            )
            found.append((array, row, column * width, value))
        return found

    def keep(self, fetched: list[tuple[int, Expr, Expr, Any]], buffer: int) -> None:
        """Store a fetched slice in shared memory."""
        frame = self.frame
        for array, row, column, value in fetched:
            at = row + buffer * self.schedule.block_k
            rows = Condition(row, 0, self.schedule.block_k - 1)
            frame.builder.when([rows], partial(frame.shared_store, array, at, column, value))

    @staticmethod
    def _split(element: Expr, columns: int) -> tuple[Expr, Expr]:
        """Row and column of a thread's element; beyond the slice the row is too large, and nothing is read or kept."""
        return element // columns, element % columns

    def _read_a(self, k: Expr, column: Expr, width: int) -> Any:
        m = self.m0 + column
        return self._read(0, self.problem.a, m, self.problem.m, k, self._bind_m, width)

    def _read_b(self, k: Expr, column: Expr, width: int) -> Any:
        n = self.n0 + column
        return self._read(1, self.problem.b_operand, n, self.problem.n, k, self._bind_n, width)

    def _read(self, position: int, access: Access, free: Expr, extent: int, k: Expr, bind: Any, width: int) -> Any:
        """The operand at (free, k); zero outside, so that ragged edges add nothing."""
        bounds = [c for c in (Condition(free, 0, extent - width), Condition(k, 0, self.problem.k - 1)) if not c.always]
        inner_free = self._within(free, extent - width, width)
        inner_k = self._within(k, self.problem.k - 1, 1)
        lane = Expr(0, ((Var("lane", 0, width - 1), 1),)) if width > 1 else None
        values = bind(inner_free + lane if lane is not None else inner_free, inner_k)
        evaluator = self.frame.evaluator(lane=lane, width=width)
        index = tuple(e.substitute(values) for e in access.index)
        guards = [c.substitute(values) for c in access.conditions]
        return evaluator.vectorized(evaluator.guarded([*bounds, *guards], index, self.anchor.operands[position], 0.0))

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

    def _in_quads(self, position: int, access: Access, free: Expr, extent: int) -> bool:
        """Whether every four neighbours along `free`, a variable of so many values, lie side by side, aligned."""
        buffer = self.frame.buffers.get(self.anchor.operands[position])
        if not isinstance(buffer, Buffer) or buffer.aligned % QUAD:
            return False
        if any(free.variables() & c.value.variables() for c in access.conditions):
            return False
        return lies_in_quads(buffer.address(access.index), free, extent)

    # -- multiply

    def thread_m(self, quad: int) -> Expr:
        """Where a thread's vector of m starts inside the tile."""
        return (self.frame.thread % self.m_threads) * QUAD + quad * QUAD * self.m_threads

    def thread_n(self, quad: int) -> Expr:
        """Where a thread's group of four n starts inside the tile."""
        row = self.frame.thread // self.m_threads
        row = row % self.n_threads if self.schedule.k_groups > 1 else row
        return row * QUAD + quad * QUAD * self.n_threads

    def find_quads(self) -> None:
        """Where this thread's vectors of m are, none beyond the last: what all reads of a resident operand share."""
        if self.resident:
            for q in range(self.quads):
                quad = minimum((self.m0 + self.thread_m(q)) // QUAD, self.problem.m // QUAD - 1)
                if not self.frame.builder.is_affine(quad):
                    named = Expr(0, ((Var(self.frame.builder.fresh_name("quad"), *quad.range), 1),))
                    self.frame.builder.bind(named, self.frame.builder.index(quad), affine=False)
                    quad = named
                self._quads[q] = quad * QUAD

    def _resident(self, k: Expr, quad: int) -> Any:
        """A vector of the first operand from where it lies."""
        lane = Expr(0, ((Var("lane", 0, QUAD - 1), 1),))
        values = self.values(m=self._quads[quad] + lane, k=k)
        index = tuple(e.substitute(values) for e in self.problem.a.index)
        return self.frame.evaluator(lane=lane, width=QUAD).value(self.anchor.operands[0], index)

    def multiply(self, accumulators: list[Any], buffer: int, k0: Expr) -> list[Any]:
        """One slice of the reduction, which starts at `k0`: outer products of four-element vectors."""
        frame = self.frame
        depth = self.schedule.block_k // self.schedule.k_groups
        first = buffer * self.schedule.block_k + self.group * depth

        def a_of(k: Expr, quad: int) -> Any:
            if self.resident:
                return self._resident(k0 + self.group * depth + k, quad)
            return frame.shared_load(A, k + first, self.thread_m(quad), QUAD)

        def step(k: Expr, carried: list[Any]) -> list[Any]:
            a = [a_of(k, q) for q in range(self.quads)]
            b = [frame.shared_load(B, k + first, self.thread_n(q), QUAD) for q in range(self.n_quads)]
            out = []
            for n in range(self.schedule.thread_n):
                element = vector.ExtractOp(b[n // QUAD], [], [n % QUAD]).result
                spread = vector.BroadcastOp(self.vector_type, element).result
                out += [scalar.fused_multiply_add(spread, a[q], carried[n * self.quads + q]) for q in range(self.quads)]
            return out

        return frame.builder.loop(depth, "k", accumulators, step)

    # -- copy out

    def copy_out(self, accumulators: list[Any]) -> None:
        """The epilogue: on the accumulators where they are, or in a loop over a shared tile of them.

        The second is one copy of the epilogue's code instead of one for every accumulator: for rows that end inside a
        vector (each element under a guard of its own), where it reads a whole tensor more (a register for each), and
        where groups of threads have a part of each sum.
        """
        if not self.schedule.result_in_shared(self.frame.group):
            for n in range(self.schedule.thread_n):
                for quad in range(self.quads):
                    value = accumulators[n * self.quads + quad]
                    self._store(self.m0 + self.thread_m(quad), self.n0 + self._n_of(n), value, QUAD)
            return
        for n in range(self.schedule.thread_n):
            for quad in range(self.quads):
                row = self._n_of(n) + self.group * self.schedule.block_n
                self.frame.shared_store(C, row, self.thread_m(quad), accumulators[n * self.quads + quad])
        self.frame.barrier()
        width = 1 if self.problem.m % QUAD else QUAD
        elements = self.schedule.block_m * self.schedule.block_n // width
        threads = self.frame.threads

        def one(i: Expr, _: list[Any]) -> list[Any]:
            element = i * threads + self.frame.thread
            n, column = self._split(element, self.schedule.block_m // width)
            m = column * width

            def store() -> None:
                self._store(self.m0 + m, self.n0 + n, partial(self._gathered, n, m, width), width)

            self.frame.builder.when([Condition(element, 0, elements - 1)], store)
            return []

        self.frame.builder.loop(-(-elements // threads), "element", [], one)

    def _gathered(self, n: Expr, m: Expr, width: int) -> Any:
        """The result at and after (n, m) of the shared tile: what all groups of threads have of it."""
        total = self.frame.shared_load(C, n, m, width)
        for group in range(1, self.schedule.k_groups):
            total = arith.AddFOp(total, self.frame.shared_load(C, n + group * self.schedule.block_n, m, width)).result
        return total

    def _n_of(self, n: int) -> Expr:
        """Where the n-th of a thread's n lies inside the tile."""
        return self.thread_n(n // QUAD) + n % QUAD

    def _store(self, m: Expr, n: Expr, value: Any, width: int) -> None:
        conditions = [Condition(m, 0, self.problem.m - width), Condition(n, 0, self.problem.n - 1)]

        def store() -> None:
            lane = Expr(0, ((Var("lane", 0, width - 1), 1),)) if width > 1 else None
            inner_m = self._within(m, self.problem.m - width, width)
            inner_n = self._within(n, self.problem.n - 1, 1)
            values = self.values(m=inner_m + lane if lane is not None else inner_m, n=inner_n)
            index = tuple(e.substitute(values) for e in self.problem.out)
            held = value() if callable(value) else value
            store_from_registers(self.frame, self.anchor, index, held, lane, width)

        self.frame.builder.when([c for c in conditions if not c.always], store)


def emit_contract(frame: Frame, schedule: ContractTiles) -> None:
    """Emit the body of a contraction kernel."""
    store_sums(frame, schedule, add_products(frame, schedule, no_sums(frame, schedule)))


def no_sums(frame: Frame, schedule: ContractTiles) -> list[Any]:
    """A thread's accumulators before anything is added."""
    zero = frame.builder.constant(0.0, ir.VectorType.get([QUAD], ir.F32Type.get()))
    return [zero] * (schedule.thread_n * schedule.thread_m // QUAD)


def store_sums(frame: Frame, schedule: ContractTiles, accumulators: list[Any]) -> None:
    """The epilogue of what the accumulators hold."""
    _Tile(frame, schedule).copy_out(accumulators)


def keep_sums(frame: Frame, schedule: ContractTiles, total: int, accumulators: list[Any]) -> None:
    """Leave the accumulators in the shared array `total`, each thread its own."""
    for (row, column), value in zip(_places(frame, schedule), accumulators, strict=True):
        frame.shared_store(total, row, column, value)


def kept_sums(frame: Frame, schedule: ContractTiles, total: int) -> list[Any]:
    """The accumulators that this thread left in the shared array `total`."""
    return [frame.shared_load(total, row, column, QUAD) for row, column in _places(frame, schedule)]


def _places(frame: Frame, schedule: ContractTiles) -> list[tuple[Expr, Expr]]:
    tile = _Tile(frame, schedule)
    columns = -(-tile.problem.n // schedule.block_n) * schedule.block_n
    first = tile.batch * columns + tile.n0
    return [
        (first + tile._n_of(n), tile.m0 + tile.thread_m(quad))
        for n in range(schedule.thread_n)
        for quad in range(tile.quads)
    ]


def add_products(frame: Frame, schedule: ContractTiles, accumulators: list[Any]) -> list[Any]:
    """Add the products of the whole reduction (or of the part that the frame's group names) to the accumulators."""
    tile = _Tile(frame, schedule)
    builder, k = frame.builder, tile.problem.k
    slices = -(-k // schedule.block_k)
    tile.find_quads()
    tile.keep(tile.fetch(Expr(0)), 0)
    frame.barrier()

    def turn(carried: list[Any], following: Expr, buffer: int) -> list[Any]:
        """Multiply the slice in `buffer` while the one `following` arrives for the other (zeros beyond the last)."""
        fetched = tile.fetch(following * schedule.block_k)
        carried = tile.multiply(carried, buffer, (following - 1) * schedule.block_k)
        tile.keep(fetched, 1 - buffer)
        frame.barrier()
        return carried

    def pair(i: Expr, carried: list[Any]) -> list[Any]:
        return turn(turn(carried, i * 2 + 1, 0), i * 2 + 2, 1)

    if slices > 1:
        accumulators = builder.loop(slices // 2, "pair", accumulators, pair)
    if slices % 2:
        accumulators = tile.multiply(accumulators, 0, Expr((slices - 1) * schedule.block_k))
    return accumulators
