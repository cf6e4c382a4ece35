"""Kernels ready to launch: parsed, translated and cached."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import mlirfuse.simulator.ops  # noqa: F401  (registers the operations)
from mlirfuse.mlir import ir
from mlirfuse.simulator.audit import Audit
from mlirfuse.simulator.counters import SECTOR_BYTES, Counters
from mlirfuse.simulator.fault import SimulationError
from mlirfuse.simulator.machine import Batch, Launch
from mlirfuse.simulator.numerics import NAMESPACE
from mlirfuse.simulator.translator import Translation, Translator
from mlirfuse.simulator.wanted import wanted_values

__all__ = ["MODES", "Kernel", "simulate"]

MODES = ("run", "check", "count")
LANES = {"run": 32768, "check": 32768, "count": 131072}


def _functions(op: Any) -> list[Any]:
    """Every gpu.func inside `op`."""
    found = []
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                if inner.operation.name == "gpu.func":
                    found.append(inner.operation)
                elif inner.operation.name in ("gpu.module", "builtin.module"):
                    found += _functions(inner.operation)
    return found


class Kernel:
    """One gpu.func, as text, translated on first use in each mode."""

    def __init__(self, text: str, name: str) -> None:
        """Prefer `from_text` or `from_op`, which cache."""
        self.text, self.name = text, name
        self._translations: dict[str, tuple[Translation, Callable[[Batch], None]]] = {}

    @staticmethod
    def from_text(text: str, name: str) -> "Kernel":
        """The gpu.func called `name` in the text of a module."""
        return _cached_kernel(text, name)

    @staticmethod
    def from_op(op: Any) -> "Kernel":
        """A gpu.func operation. Its text is the cache key: locations are in messages if it has any."""
        operation = op.operation
        name = ir.StringAttr(operation.attributes["sym_name"]).value
        body = operation.get_asm(enable_debug_info=True)
        module = f"module attributes {{gpu.container_module}} {{ gpu.module @kernels {{\n{body}\n}} }}"
        return _cached_kernel(module, name)

    def translation(self, mode: str = "run") -> Translation:
        """The Python source of the kernel in `mode`, and what it needs."""
        return self._translated(mode)[0]

    def _translated(self, mode: str) -> tuple[Translation, Callable[[Batch], None]]:
        if mode not in self._translations:
            translation = self._translate(mode)
            scope = NAMESPACE | translation.constants
            exec(compile(translation.source, f"<{self.name}: {mode}>", "exec"), scope)
            self._translations[mode] = translation, scope["kernel"]
        return self._translations[mode]

    def _translate(self, mode: str) -> Translation:
        with ir.Context() as ctx, ir.Location.unknown():
            ctx.allow_unregistered_dialects = True
            module = ir.Module.parse(self.text)
            for function in _functions(module.operation):
                if ir.StringAttr(function.attributes["sym_name"]).value == self.name:
                    wanted = wanted_values(function) if mode == "count" else None
                    return Translator(function, observe=mode != "run", wanted=wanted).translate()
        raise SimulationError(f"the module has no gpu.func called {self.name}")

    def launch(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        buffers: Sequence[np.ndarray],
        mode: str = "run",
        *,
        batch: int | None = None,
        uninitialised: str = "raise",
        shared_bytes: int | None = None,
        offsets: Sequence[int] = (),
    ) -> Counters:
        """Run every block of the grid, writing into `buffers` (flat, in argument order).

        `offsets` are the bytes at which these start in memory that starts at a whole sector (default: at 0).
        `batch` is how many blocks run side by side (rounded up to whole clusters); `uninitialised`
        ("raise" or "count") is what `check` does about a thread that reads only shared memory that nobody
        wrote; `shared_bytes` bounds the dynamic shared memory. The counters are zero in mode `run`.
        """
        if mode not in MODES:
            raise SimulationError(f"the simulator has no mode {mode!r}; it has {', '.join(MODES)}")
        translation, function = self._translated(mode)
        audit = None if mode == "run" else Audit(races=mode == "check", uninitialised=uninitialised)
        launch = Launch(
            translation, _three(grid), _three(block), self._arguments(translation, buffers), audit, shared_bytes,
            tuple(offset % SECTOR_BYTES for offset in offsets),
        )  # fmt: skip
        self._require(launch)
        size = batch or max(1, LANES[mode] // launch.threads)
        size = -(-size // translation.cluster) * translation.cluster
        with np.errstate(all="ignore"):
            for first in range(0, launch.blocks, size):
                function(Batch(launch, first, min(size, launch.blocks - first)))
                if audit is not None:
                    audit.end()
        return audit.finish() if audit is not None else Counters()

    def _arguments(self, translation: Translation, buffers: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The buffers as flat arrays of the kernel's element types, without copying."""
        if len(buffers) != len(translation.arguments):
            raise SimulationError(
                f"kernel {self.name} takes {len(translation.arguments)} buffers, but {len(buffers)} were given"
            )
        arrays = []
        for position, (buffer, kind, size) in enumerate(
            zip(buffers, translation.arguments, translation.sizes, strict=True)
        ):
            same = buffer.dtype == kind.dtype or {buffer.dtype, kind.dtype} <= {np.dtype(np.bool_), np.dtype(np.int8)}
            writable = buffer.flags.writeable or position not in translation.written
            if not same or buffer.size != size or not buffer.flags.c_contiguous or not writable:
                raise SimulationError(
                    f"kernel {self.name}, argument {position}: expected a contiguous "
                    f"{'' if position not in translation.written else 'writable '}array of {size} {kind.element}, "
                    f"found {buffer.size} {buffer.dtype}"
                )
            arrays.append(buffer.reshape(-1).view(kind.dtype))
        return tuple(arrays)

    def _require(self, launch: Launch) -> None:
        """The launch has the sizes that the kernel was compiled for."""
        for what, known, given in (
            ("block", launch.translation.block_size, launch.block),
            ("grid", launch.translation.grid_size, launch.grid),
        ):
            if known is not None and known != given:
                raise SimulationError(f"kernel {self.name} is compiled for a {what} of {known}, launched with {given}")
        cluster = launch.translation.cluster
        if launch.grid[0] % cluster:
            raise SimulationError(
                f"kernel {self.name} runs in clusters of {cluster} blocks along x, "
                f"which a grid of {launch.grid} does not hold whole"
            )


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*sizes, 1, 1, 1)[:3]
    return int(x), int(y), int(z)


@functools.lru_cache(maxsize=1024)
def _cached_kernel(text: str, name: str) -> Kernel:
    return Kernel(text, name)


def simulate(
    kernel: Any,
    grid: Sequence[int],
    block: Sequence[int],
    buffers: Sequence[np.ndarray],
    mode: str = "check",
    **options: Any,
) -> Counters:
    """Launch `kernel`: a gpu.func operation, or (module text, kernel name). See `Kernel.launch`."""
    ready = Kernel.from_text(*kernel) if isinstance(kernel, tuple) else Kernel.from_op(kernel)
    return ready.launch(grid, block, buffers, mode, **options)
