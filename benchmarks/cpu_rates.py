"""Cycles that single kernels take on one core of this CPU, beside the cost model's, and its rates fitted to them.

    python benchmarks/cpu_rates.py [--only pool] [--results FILE]

Every case is one operation (with what is computed in its place) on warm data, run alone by one thread: products in
register tiles, loops over elements, and copies of growing size, which draw from one cache after the other. Cycles are
processor time at the clock that a loop of multiply-adds reaches. `model` is what lowering/groups/cpu_cost.py predicts
for the same, without handing it to a thread.

    product  LOADS_PER_CYCLE, BLOCK_CYCLES, STORE_CYCLES
    loop     TAP_CYCLES
    stream   L2_BYTES_PER_CYCLE, MIXED_BYTES_PER_CYCLE, L3_BYTES_PER_CYCLE

are fitted so that the squares of the logarithms of model over measured are least. Results go to results/cpu_rates.json;
a test holds the model to them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kernels_cpu import CASES, CHANNELS_LAST, GroupText, measure, peak
from measured import RESULTS, machine, today, versions

from mlirfuse.cli.race import geometric_mean
from mlirfuse.device import Device, host_device
from mlirfuse.files import write_file
from mlirfuse.lowering.groups import cpu_rates
from mlirfuse.lowering.groups.cpu_rates import cycles_per_second, loop_cycles, product_cycles, stream_rate
from mlirfuse.lowering.groups.group import Group
from mlirfuse.lowering.groups.work import Work

CONSTANTS = {
    "product": ("LOADS_PER_CYCLE", "BLOCK_CYCLES", "STORE_CYCLES"),
    "loop": ("TAP_CYCLES",),
    "stream": ("L2_BYTES_PER_CYCLE", "MIXED_BYTES_PER_CYCLE", "L3_BYTES_PER_CYCLE"),
}
STREAMS = (96, 192, 384, 768, 1536, 3072, 6144)  # KiB that a copy reads and writes
STEPS = tuple(2 ** (n / 16) for n in (*range(-24, -2, 2), *range(-2, 3), *range(4, 26, 2)))  # times a constant: tried
PASSES = 6
RUNS = 30


@dataclass(frozen=True)
class Case:
    """One kernel: `elements` (of its result) combine `length` others each; a product has its `factors`."""

    kernel: str
    kind: str
    factors: tuple[int, int, int, int] | None
    elements: int
    length: int
    bytes: int
    cycles: float = 0.0

    @classmethod
    def of(cls, name: str, group: Group) -> Case:
        anchor = next((m.node for m in group.members if m.node.op in ("conv", "contract", "window")), None)
        node = anchor or group.members[0].node
        work, moved = Work.of(node), sum(group.types[v].bytes for v in (*group.inputs, *group.outputs))
        product = work.product(node.out.dims)
        kind = "product" if product else "loop" if anchor else "stream"
        return cls(name, kind, product, node.out.size, work.length, moved)

    def predicted(self, core: Device) -> float:
        """Cycles by the model."""
        drawn = self.bytes / stream_rate(self.bytes, core)
        if self.factors is not None:
            return product_cycles(*self.factors, core) + drawn
        return loop_cycles(self.elements, self.length, core) + drawn


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--results", metavar="FILE", type=Path, default=RESULTS / "cpu_rates.json")
    args = parser.parse_args(argv)
    core = one_core(host_device())
    flops = peak(core)
    hertz = flops / (core.vector_bytes // 4 * 4)
    found: list[Case] = []
    print(f"{'kernel':34}{'of':>9}{'bytes':>12}{'cycles':>12}{'model':>12}{'ratio':>7}")
    for name, make in cases().items():
        if args.only not in name:
            continue
        group = make()
        seconds = measure(name, group, core, 1, flops, RUNS).microseconds * 1e-6
        found.append(case := replace(Case.of(name, group), cycles=seconds * hertz))
        predicted = case.predicted(core)
        print(
            f"{name:34}{case.kind:>9}{case.bytes:12}{case.cycles:12.0f}{predicted:12.0f}{predicted / case.cycles:7.2f}",
            flush=True,
        )
    for kind, mean in means(found, core).items():
        print(f"{kind:16} model over measured {mean:.2f}, geometric mean")
    constants = fitted(found, core)
    for name, value in constants.items():
        print(f"{name:22} fitted {value:6.2f}, in the model {getattr(cpu_rates, name):6.2f}")
    data = {
        "machine": machine(),
        "device": {**asdict(core), "features": sorted(core.features)},
        "date": today(),
        "versions": versions(("llvmlite", "torch-mlir")),
        "hertz": round(hertz),
        "nominal_hertz": round(cycles_per_second(core)),
        "constants": {name: round(value, 2) for name, value in constants.items()},
        "cases": [asdict(case) for case in found],
    }
    write_file(args.results, (json.dumps(data, indent=1) + "\n").encode())
    return 0


def read_cases(path: Path) -> tuple[list[Case], Device]:
    """The cases of a file, and the core on which they ran."""
    data = json.loads(path.read_text())
    cases = [Case(**{**c, "factors": None if c["factors"] is None else tuple(c["factors"])}) for c in data["cases"]]
    return cases, Device(**{**data["device"], "features": frozenset(data["device"]["features"])})


def one_core(device: Device) -> Device:
    """A device of one of its cores."""
    cores = device.multiprocessors
    bandwidth, flops = device.dram_bandwidth / cores, device.fp32_flops / cores
    return replace(device, multiprocessors=1, dram_bandwidth=bandwidth, fp32_flops=flops)


def cases() -> dict[str, Callable[[], Group]]:
    """Kernels of networks, and streams."""
    return {**CASES, **{f"relu {kib} KiB": lambda size=kib * 1024 // 8: stream(size) for kib in STREAMS}}


def stream(elements: int) -> Group:
    """One element read, one written."""
    g = GroupText()
    x = g.input(1, 64, elements // 64 // 32, 32, layout=CHANNELS_LAST)
    return g.group(g.op("unary", x, kind="relu"))


# -- what the model says


def means(found: Iterable[Case], core: Device) -> dict[str, float]:
    """Model over measured, of each kind."""
    ratios: dict[str, list[float]] = {}
    for case in found:
        ratios.setdefault(case.kind, []).append(case.predicted(core) / case.cycles)
    return {kind: geometric_mean(values) for kind, values in ratios.items()}


def fitted(found: Iterable[Case], core: Device) -> dict[str, float]:
    """The constants with the least error; those of loops and streams first, since products draw what they read too."""
    own, constants = list(found), {}
    for kinds in (("loop", "stream"), ("product",)):
        rows = [case for case in own if case.kind in kinds]
        names = [name for kind in kinds for name in CONSTANTS[kind]] if rows else []
        for _, name in itertools.product(range(PASSES), names):  # each while the others stay

            def error(value: float, name: str = name, rows: Sequence[Case] = rows) -> float:
                with rates({**constants, name: value}):
                    return sum(math.log(case.predicted(core) / case.cycles) ** 2 for case in rows)

            start = constants.get(name, getattr(cpu_rates, name))
            constants[name] = min((start * step for step in STEPS), key=error)
    return constants


@contextmanager
def rates(values: Mapping[str, Any]) -> Iterator[None]:
    """The model with other constants."""
    own = {name: getattr(cpu_rates, name) for name in values}

    def put(constants: Mapping[str, Any]) -> None:
        for name, value in constants.items():
            setattr(cpu_rates, name, value)
        product_cycles.cache_clear()

    put(values)
    try:
        yield
    finally:
        put(own)


if __name__ == "__main__":
    sys.exit(main())
