"""Instructions that kernels issue, counted in their machine code, and the constants of the cost model fitted to them.

    python benchmarks/instructions.py [--chip sm_90] [--results FILE]

Kernels of the kinds that lowering/groups/gpu_stages.py prices are compiled, assembled by ptxas and listed by nvdisasm
(of the packages nvidia-cuda-nvcc and nvidia-cuda-nvdisasm; it takes no GPU). Counted is what one thread issues, with
code that it may branch around, and loops as often as the loads or multiply-adds inside tell:

    slice  of a register tile's reduction: its multiply-adds and shared loads
           + SLICE + elements of A x (WINDOW_FETCH, PLAIN_FETCH, QUAD_FETCH or none) + elements of B x QUAD_FETCH
    part   of a register tile's result, beside its slices: PART
           + sums that groups of threads add up x GATHER
    map    an element that a thread computes by itself: MAP_START (once)
           + elements that it combines x MAP_TAP + operations x MAP_OPERATION
    team   an element that a warp computes: TEAM_ELEMENT + a lane's steps through its reduction x TEAM_STEP

with the constants that make the squares of the relative errors least. `kept` are stages that read what an earlier stage
left in shared memory. Results go to results/instructions.json; the model's constants are these, rounded, and a test
holds the model to the counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kernels_cpu import GroupText, conv_attributes
from measured import RESULTS, today, versions
from sass import Code, Span, compiled

from mlirfuse.dialect import semantics
from mlirfuse.files import write_file
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.groups import gpu_stages
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.schedule.simt import WARP, ContractTiles, MapTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_choice import weight_layouts
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles
from mlirfuse.lowering.schedule.simt_forms import SimtSchedule
from mlirfuse.lowering.schedule.simt_program import tile_program

SHAPES = (
    (64, 64, 8, 4, 4), (64, 64, 16, 4, 4), (64, 64, 32, 4, 4), (32, 32, 16, 4, 4), (32, 64, 32, 4, 4),
    (16, 128, 8, 4, 4), (64, 128, 8, 8, 4), (128, 64, 16, 8, 4), (64, 64, 16, 8, 8),
)  # fmt: skip
SLICED = ((32, 32, 32, 4, 4, 4), (32, 64, 32, 4, 4, 2), (64, 32, 32, 4, 4, 2), (64, 64, 32, 8, 4, 2))
KEPT_SHAPES = ((64, 64, 8, 4, 4), (64, 64, 16, 4, 4), (32, 64, 16, 4, 4), (16, 128, 8, 4, 4))
REGISTERS = 255  # all that a thread may have, so that none of these spills
FETCHES = {"window": "WINDOW_FETCH", "plain": "PLAIN_FETCH", "quads": "QUAD_FETCH"}
CONSTANTS = (
    *("SLICE", *FETCHES.values(), "PART", "GATHER"),
    *("MAP_START", "MAP_TAP", "MAP_OPERATION", "TEAM_ELEMENT", "TEAM_STEP"),
)
Terms = Mapping[str, float]


@dataclass(frozen=True)
class Count:
    """What a thread issues: `issued`, of which `known` follow from the schedule alone; `terms` tells of which constants
    the rest is made."""

    kernel: str
    kind: str
    kept: bool
    issued: float
    known: float
    terms: Terms
    registers: int
    spill_bytes: int

    def predicted(self, constants: Terms) -> float:
        return self.known + sum(constants[name] * count for name, count in self.terms.items())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chip", default="sm_90")
    parser.add_argument("--results", metavar="FILE", type=Path, default=RESULTS / "instructions.json")
    args = parser.parse_args(argv)
    counts: list[Count] = []
    print(f"{'kernel':34}{'of':>6}{'kept':>6}{'registers':>11}{'issued':>9}{'model':>9}{'ratio':>7}")
    own = model_constants()
    for count in [
        *tiles(args.chip),
        *kept_tiles(args.chip),
        *maps(args.chip),
        *kept_maps(args.chip),
        *teams(args.chip),
    ]:
        counts.append(count)
        predicted = count.predicted(own)
        print(
            f"{count.kernel:34}{count.kind:>6}{'yes' if count.kept else '':>6}{count.registers:11}{count.issued:9.1f}"
            f"{predicted:9.1f}{predicted / count.issued:7.2f}",
            flush=True,
        )
    constants = fitted(counts)
    for name, value in constants.items():
        print(f"{name:16} fitted {value:6.2f}, in the model {own[name]:6.2f}")
    data = {
        "chip": args.chip,
        "date": today(),
        "versions": versions(("llvmlite", "nvidia-cuda-nvcc", "nvidia-cuda-nvdisasm")),
        "constants": {name: round(value, 3) for name, value in constants.items()},
        "counts": [dataclasses.asdict(count) for count in counts],
    }
    write_file(args.results, (json.dumps(data, indent=1) + "\n").encode())
    return 0


def read_counts(path: Path) -> list[Count]:
    return [Count(**entry) for entry in json.loads(path.read_text())["counts"]]


def model_constants() -> dict[str, float]:
    """As they stand in the cost model."""
    return {name: getattr(gpu_stages, name) for name in CONSTANTS}


def fitted(counts: Iterable[Count]) -> dict[str, float]:
    """The constants with the least squares of relative errors; of each kind's counts its own."""
    found: dict[str, float] = {}
    counts = list(counts)
    for kind in dict.fromkeys(count.kind for count in counts):
        rows = [count for count in counts if count.kind == kind]
        names = list(dict.fromkeys(name for row in rows for name in row.terms))
        matrix = np.array([[row.terms.get(name, 0.0) / row.issued for name in names] for row in rows])
        wanted = np.array([(row.issued - row.known) / row.issued for row in rows])
        found |= dict(zip(names, np.linalg.lstsq(matrix, wanted, rcond=None)[0].tolist(), strict=True))
    return found


# -- kernels


def written(g: GroupText, value: int) -> Group:
    """The group of one output, all row-major."""
    return Group(tuple(g.types), tuple(g.inputs), tuple(g.members), (value,))


def conv(g: GroupText, x: int, filters: int, kernel: int, stride: int = 1, groups: int = 1) -> int:
    w = g.input(filters, g.types[x].dims[1] // groups, kernel, kernel)
    return g.op("conv", x, w, constant=(False, True), **conv_attributes(stride, kernel // 2, groups))


def depthwise(g: GroupText, x: int, kernel: int, stride: int) -> int:
    channels = g.types[x].dims[1]
    return conv(g, x, channels, kernel, stride, channels)


def pool(g: GroupText, x: int, kind: str, kernel: int, stride: int) -> int:
    sizes = tuple((d + 2 * (kernel // 2) - kernel) // stride + 1 for d in g.types[x].dims[2:])
    window = {"axes": (2, 3), "kernel": (kernel,) * 2, "strides": (stride,) * 2, "dilations": (1, 1)}
    return g.op("window", x, kind=kind, **window, pads=(kernel // 2,) * 4, sizes=sizes, count_include_pad=True)


Op = Callable[[GroupText, int], int]
WINDOWS: Mapping[str, Op] = {
    "depthwise 3x3": lambda g, x: depthwise(g, x, 3, 1),
    "depthwise 3x3, stride 2": lambda g, x: depthwise(g, x, 3, 2),
    "depthwise 5x5": lambda g, x: depthwise(g, x, 5, 1),
    "max pool 3x3": lambda g, x: pool(g, x, "max", 3, 1),
    "max pool 3x3, stride 2": lambda g, x: pool(g, x, "max", 3, 2),
    "mean pool 3x3": lambda g, x: pool(g, x, "mean", 3, 1),
}
POINTS: Mapping[str, Op] = {
    "x + y": lambda g, x: g.op("binary", x, g.input(*g.types[x].dims), kind="add"),
    "relu": lambda g, x: g.op("unary", x, kind="relu"),
}


@dataclass(frozen=True)
class Kernel:
    """Its code, the registers of a thread and the bytes that it spills."""

    code: Code
    registers: int
    spill_bytes: int

    @classmethod
    def of(cls, group: Group, schedule: SimtSchedule, chip: str) -> Kernel:
        """Weights lie as the schedule asks."""
        layouts = weight_layouts(group, schedule)
        types = tuple(dataclasses.replace(t, layout=layouts.get(v, t.layout)) for v, t in enumerate(group.types))
        program = tile_program(dataclasses.replace(group, types=types), schedule)
        assembly, code = compiled(lambda: emit_kernel(program, "kernel"), chip)
        return cls(code, assembly.registers, assembly.spill_store_bytes + assembly.spill_load_bytes)

    def count(self, name: str, kind: str, kept: bool, issued: float, known: float, terms: Terms) -> Count:
        return Count(name, kind, kept, issued, known, terms, self.registers, self.spill_bytes)

    @property
    def turns(self) -> list[Span]:
        """The loops over pairs of slices."""
        return self.code.innermost(lambda s: self.code.count("BAR", s) > 0)

    def slice(self, turns: Span, tile: ContractTiles, fetch: str, kept: bool) -> Count:
        """One slice of such a loop."""
        depth = tile.block_k // tile.k_groups
        products = tile.thread_m * tile.thread_n * depth
        loads = depth * (tile.thread_m + tile.thread_n) / 4
        a, b = (tile.block_k * size / tile.threads for size in (tile.block_m, tile.block_n))
        terms = {"SLICE": 1.0, "QUAD_FETCH": b}
        if fetch in FETCHES:
            terms[FETCHES[fetch]] = terms.get(FETCHES[fetch], 0.0) + a
        issued = self.code.issued(turns, "FFMA", 2 * products) / 2
        return self.count(f"{shape(tile)} {fetch}", "slice", kept, issued, products + loads, terms)


def shape(tile: ContractTiles) -> str:
    groups = f"x{tile.k_groups}" if tile.k_groups > 1 else ""
    return f"{tile.block_m}x{tile.block_n}x{tile.block_k} of {tile.thread_m}x{tile.thread_n}{groups}"


def element_terms(member: Member) -> dict[str, float]:
    """Of an element of its result: what it combines, and operations."""
    meaning = semantics(member.node.op)
    taps = math.prod(meaning.indexing(member.node).reduction_sizes)
    return {"MAP_TAP": float(taps), "MAP_OPERATION": max(1.0, meaning.flops(member.node) / member.node.out.size)}


def tiles(chip: str) -> Iterator[Count]:
    """One convolution: a slice of its reduction, and what is outside of the loop over slices."""
    sliced = (ContractTiles(*numbers, registers=REGISTERS, k_groups=groups) for *numbers, groups in SLICED)
    for tile in (*(ContractTiles(*numbers, registers=REGISTERS) for numbers in SHAPES), *sliced):
        for fetch in FETCHES:
            size = 55 if fetch == "plain" else 56
            g = GroupText()
            y = conv(g, g.input(1, 256, size, size), 256, 3 if fetch == "window" else 1)
            kernel = Kernel.of(written(g, y), tile, chip)
            (turns,) = kernel.turns
            yield kernel.slice(turns, tile, fetch, False)
            rest = len(kernel.code.whole) - len(turns)
            terms = {"PART": 1.0}
            if tile.k_groups > 1:
                terms["GATHER"] = float(tile.thread_m * tile.thread_n)
            yield kernel.count(f"{shape(tile)} {fetch}", "part", False, rest, 0, terms)


def kept_tiles(chip: str) -> Iterator[Count]:
    """The second of two convolutions in one kernel; what it reads as it lies is not fetched."""
    for tile in (ContractTiles(*numbers) for numbers in KEPT_SHAPES):
        for fetch, box in (("window", 8), ("plain", 7), ("in place", 8)):
            g = GroupText()
            x = conv(g, g.input(1, 64, 56, 56), 64, 1)
            group = written(g, conv(g, x, 64, 3 if fetch == "window" else 1))
            kernel = Kernel.of(group, CrossLayerTiles(tile.threads, (1, 64, box, box), (tile, tile)), chip)
            yield kernel.slice(kernel.turns[-1], tile, fetch, True)


def maps(chip: str) -> Iterator[Count]:
    """An op that each thread computes one element of."""
    for name, op in {**WINDOWS, **POINTS}.items():
        g = GroupText()
        group = written(g, op(g, g.input(1, 128, 56, 56)))
        kernel = Kernel.of(group, MapTiles(256), chip)
        terms = {"MAP_START": 1.0, **element_terms(group.members[-1])}
        yield kernel.count(name, "map", False, len(kernel.code.whole), 0, terms)


def kept_maps(chip: str) -> Iterator[Count]:
    """The same after a convolution in one kernel: a turn of the loop over elements of its box."""
    for name, op in WINDOWS.items():
        g = GroupText()
        group = written(g, op(g, conv(g, g.input(1, 64, 56, 56), 128, 1)))
        first, out = ContractTiles(64, 64, 16, 4, 4), group.types[group.outputs[0]].dims
        kernel = Kernel.of(
            group, CrossLayerTiles(256, (1, 128, *(d // 7 for d in out[2:])), (first, MapTiles(256))), chip
        )
        code, after = kernel.code, Span(kernel.turns[-1].end, kernel.code.whole.end)
        terms = element_terms(group.members[-1])
        for loop in code.innermost(lambda s: s in after and code.count("LDS", s) > 0):  # noqa: B023
            elements = code.count("LDS", loop) / terms["MAP_TAP"]
            yield kernel.count(name, "map", True, len(loop) / elements, 0, terms)


def teams(chip: str) -> Iterator[Count]:
    """A product of one row, and a mean."""
    for length in (512, 2048):
        g = GroupText()
        y = g.op("contract", g.input(1, length), g.input(length, 1000), constant=(False, True), equation="mk,kn->mn")
        yield team(f"product of {length}", written(g, y), length, chip)
    for size in (14, 56):
        g = GroupText()
        y = g.op("reduce", g.input(1, 256, size, size), kind="mean", axes=(2, 3), keepdims=True)
        yield team(f"mean of {size}x{size}", written(g, y), size * size, chip)


def team(name: str, group: Group, length: int, chip: str) -> Count:
    """A warp for each element: each lane loads what it combines, step by step."""
    kernel = Kernel.of(group, TeamTiles(256), chip)
    steps = math.ceil(length / WARP)
    issued = kernel.code.issued(kernel.code.whole, "LDG", steps * len(group.inputs))
    return kernel.count(name, "team", False, issued, 0, {"TEAM_ELEMENT": 1.0, "TEAM_STEP": float(steps)})


if __name__ == "__main__":
    sys.exit(main())
