"""GFLOP/s of single CPU kernels against the peak of a multiply-add loop.

    python benchmarks/kernels_cpu.py [--threads 1] [--only resnet] [--json FILE]

Every case is one group: a convolution of a benchmark network (channels last, its weights packed) with bias and relu, or
another kind of kernel that these networks have. Times are the best of several runs on warm data; with one thread, of
processor time. With several, each repeats its share of the tiles and never waits for the others.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from mlirfuse.device import Device, host_device
from mlirfuse.dialect import Node, TensorType, semantics
from mlirfuse.lowering.codegen.expand_math import expand_math
from mlirfuse.lowering.codegen.llvm_text import translate
from mlirfuse.lowering.cpu.emit import emit_kernel
from mlirfuse.lowering.groups.group import Group, Member
from mlirfuse.lowering.host.object_code import HostCpu, llvm_ir_to_object
from mlirfuse.lowering.host.pipeline import HOST_PIPELINE
from mlirfuse.lowering.schedule.host import choose_host_schedule, host_program, weight_packings
from mlirfuse.mlir import context, ir, passmanager

CHANNELS_LAST = (0, 2, 3, 1)


class GroupText:
    """A group written op by op; spatial values are channels last unless told otherwise."""

    def __init__(self) -> None:
        self.types: list[TensorType] = []
        self.inputs: list[int] = []
        self.members: list[Member] = []

    def input(self, *shape: int, layout: tuple[int, ...] | None = None) -> int:
        self.types.append(TensorType(shape, "float32", layout))
        self.inputs.append(len(self.types) - 1)
        return len(self.types) - 1

    def op(self, name: str, *operands: int, constant: tuple[bool, ...] = (), **attrs: Any) -> int:
        node = Node(name, attrs, tuple(self.types[v] for v in operands), (), constant or (False,) * len(operands))
        node = dataclasses.replace(node, outputs=(semantics(name).infer(node),))
        self.types.append(node.out)
        self.members.append(Member(node, operands, len(self.types) - 1))
        return len(self.types) - 1

    def group(self, output: int) -> Group:
        tensor = self.types[output]
        layout = CHANNELS_LAST if tensor.rank == 4 else None
        self.types[output] = dataclasses.replace(tensor, layout=layout)
        return Group(tuple(self.types), tuple(self.inputs), tuple(self.members), (output,))


def conv_attributes(stride: int = 1, pad: int = 0, groups: int = 1) -> dict[str, Any]:
    square = {"strides": (stride,) * 2, "pads": (pad,) * 4, "dilations": (1, 1), "input_dilation": (1, 1)}
    return {**square, "groups": groups}


def convolution(
    channels: int,
    size: int,
    filters: int,
    kernel: int,
    stride: int = 1,
    pad: int = 0,
    groups: int = 1,
    rows: bool = False,
) -> Group:
    """Convolution, bias and relu; `rows`: the input is row-major, as networks are given."""
    g = GroupText()
    x = g.input(1, channels, size, size, layout=None if rows else CHANNELS_LAST)
    layout = (1, 2, 3, 0) if groups == channels else None
    w = g.input(filters, channels // groups, kernel, kernel, layout=layout)
    y = g.op("conv", x, w, constant=(False, True), **conv_attributes(stride, pad, groups))
    y = g.op("binary", y, g.input(1, filters, 1, 1), kind="add")
    return g.group(g.op("unary", y, kind="relu"))


def batch_norm_then_convolution(channels: int, size: int, filters: int) -> Group:
    """DenseNet's pre-activation: relu(x * scale + shift), then 1x1."""
    g = GroupText()
    x = g.input(1, channels, size, size, layout=CHANNELS_LAST)
    x = g.op("binary", x, g.input(1, channels, 1, 1), kind="mul")
    x = g.op("unary", g.op("binary", x, g.input(1, channels, 1, 1), kind="add"), kind="relu")
    w = g.input(filters, channels, 1, 1)
    return g.group(g.op("conv", x, w, constant=(False, True), **conv_attributes()))


def pool(kind: str, channels: int, size: int, kernel: int, stride: int, pad: int, out: int) -> Group:
    g = GroupText()
    x = g.input(1, channels, size, size, layout=CHANNELS_LAST)
    window = {
        "axes": (2, 3),
        "kernel": (kernel,) * 2,
        "strides": (stride,) * 2,
        "dilations": (1, 1),
        "pads": (pad,) * 4,
    }
    return g.group(g.op("window", x, kind=kind, **window, sizes=(out, out), count_include_pad=False))


def matrix_product(m: int, k: int, n: int) -> Group:
    g = GroupText()
    y = g.op("contract", g.input(m, k), g.input(k, n), constant=(False, True), equation="mk,kn->mn")
    return g.group(g.op("binary", y, g.input(n), kind="add"))


CASES: dict[str, Callable[[], Group]] = {
    "resnet 7x7 s2 3-64 224": lambda: convolution(3, 224, 64, 7, 2, 3, rows=True),
    "resnet 1x1 64-64 56": lambda: convolution(64, 56, 64, 1),
    "resnet 3x3 64-64 56": lambda: convolution(64, 56, 64, 3, 1, 1),
    "resnet 1x1 64-256 56": lambda: convolution(64, 56, 256, 1),
    "resnet 1x1 256-64 56": lambda: convolution(256, 56, 64, 1),
    "resnet 1x1 s2 256-512 56": lambda: convolution(256, 56, 512, 1, 2),
    "resnet 3x3 128-128 28": lambda: convolution(128, 28, 128, 3, 1, 1),
    "resnet 3x3 256-256 14": lambda: convolution(256, 14, 256, 3, 1, 1),
    "resnet 1x1 1024-256 14": lambda: convolution(1024, 14, 256, 1),
    "resnet 3x3 512-512 7": lambda: convolution(512, 7, 512, 3, 1, 1),
    "resnet 1x1 512-2048 7": lambda: convolution(512, 7, 2048, 1),
    "squeezenet 1x1 96-16 54": lambda: convolution(96, 54, 16, 1),
    "squeezenet 3x3 16-64 54": lambda: convolution(16, 54, 64, 3, 1, 1),
    "squeezenet 1x1 512-1000 13": lambda: convolution(512, 13, 1000, 1),
    "vgg 3x3 3-64 224": lambda: convolution(3, 224, 64, 3, 1, 1, rows=True),
    "vgg 3x3 64-64 224": lambda: convolution(64, 224, 64, 3, 1, 1),
    "vgg 3x3 256-256 56": lambda: convolution(256, 56, 256, 3, 1, 1),
    "vgg 3x3 512-512 28": lambda: convolution(512, 28, 512, 3, 1, 1),
    "vgg 3x3 512-512 14": lambda: convolution(512, 14, 512, 3, 1, 1),
    "alexnet 11x11 s4 3-96 224": lambda: convolution(3, 224, 96, 11, 4, 2, rows=True),
    "alexnet 5x5 g2 96-256 26": lambda: convolution(96, 26, 256, 5, 1, 2, 2),
    "densenet bn 1x1 256-128 56": lambda: batch_norm_then_convolution(256, 56, 128),
    "densenet bn 1x1 512-128 14": lambda: batch_norm_then_convolution(512, 14, 128),
    "densenet 3x3 128-32 14": lambda: convolution(128, 14, 32, 3, 1, 1),
    "shufflenet 1x1 g4 272-272 28": lambda: convolution(272, 28, 272, 1, groups=4),
    "shufflenet depthwise 136 28": lambda: convolution(136, 28, 136, 3, 1, 1, 136),
    "mobilenet depthwise 96 112 s2": lambda: convolution(96, 112, 96, 3, 2, 1, 96),
    "fully connected 4096-1000": lambda: matrix_product(1, 4096, 1000),
    "fully connected 9216-4096": lambda: matrix_product(1, 9216, 4096),
    "matrix 384x768x3072": lambda: matrix_product(384, 768, 3072),
    "max pool 3x3 s2 64 112": lambda: pool("max", 64, 112, 3, 2, 1, 56),
    "mean pool 7x7 2048": lambda: pool("mean", 2048, 7, 7, 1, 0, 1),
}

PEAK = """
func.func @kernel(%out: memref<{size}xf32>, %n: index) {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
{loads}
  %r:{count} = scf.for %i = %c0 to %n step %c1 iter_args({inits}) -> ({types}) {{
{body}
    scf.yield {yields} : {types}
  }}
{stores}
  return
}}
"""


class Code:
    """One module as native code."""

    def __init__(self, module: ir.Module, names: list[str]) -> None:
        begin = time.perf_counter()
        expand_math(module.operation, vectors=True)
        passmanager.PassManager.parse(HOST_PIPELINE).run(module.operation)
        text = translate(module)
        machine = HostCpu.of_this_machine()
        code = llvm_ir_to_object(text, machine)
        self.seconds = time.perf_counter() - begin
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._jit = llvm.create_lljit_compiler(llvm.Target.from_default_triple().create_target_machine())
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
        for name in names:
            builder.export_symbol(name)
        self._library = builder.link(self._jit, f"bench{id(self)}")

    def entry(self, name: str, pointers: int) -> Any:
        return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, ctypes.c_int64)(self._library[name])


def peak(device: Device) -> float:
    """FLOP/s of one core in a loop of independent multiply-adds."""
    lanes, count = device.vector_bytes // 4, 12
    kind, numbers = f"vector<{lanes}xf32>", range(count)
    text = PEAK.format(
        lanes=lanes,
        count=count,
        size=count * lanes,
        loads="\n".join(
            f"  %c_{i} = arith.constant {i * lanes} : index\n"
            f"  %x{i} = vector.load %out[%c_{i}] : memref<{count * lanes}xf32>, {kind}"
            for i in numbers
        ),
        inits=", ".join(f"%a{i} = %x{i}" for i in numbers),
        types=", ".join([kind] * count),
        body="\n".join(f"    %b{i} = vector.fma %x0, %x0, %a{i} : {kind}" for i in numbers),
        yields=", ".join(f"%b{i}" for i in numbers),
        stores="\n".join(f"  vector.store %r#{i}, %out[%c_{i}] : memref<{count * lanes}xf32>, {kind}" for i in numbers),
    )
    with context():
        code = Code(ir.Module.parse(text), ["kernel"])
    memory = np.random.default_rng(0).standard_normal(count * lanes).astype(np.float32) * 1e-3
    entry, steps = code.entry("kernel", 1), 2_000_000
    return steps * count * lanes * 2 / best(lambda: entry(memory.ctypes.data, steps), 5)


def best(call: Callable[[], object], runs: int, clock: Callable[[], float] = time.thread_time) -> float:
    """Seconds of the fastest of several calls; this thread's own time leaves out what other processes take."""
    fastest = float("inf")
    for _ in range(runs):
        begin = clock()
        call()
        fastest = min(fastest, clock() - begin)
    return fastest


@dataclass
class Result:
    name: str
    microseconds: float
    gflops: float
    of_peak: float
    tiles: int
    emit_seconds: float
    compile_seconds: float
    schedule: str


def measure(
    name: str, group: Group, device: Device, threads: int, flops: float, runs: int = 30, schedule: Any = None
) -> Result:
    """Run one group's kernel, its tiles shared by `threads`."""
    begin = time.perf_counter()
    schedule = schedule or choose_host_schedule(group, device)
    program = host_program(group, schedule)
    packed = weight_packings(group, schedule)
    with context():
        module = ir.Module.create()
        with ir.InsertionPoint(module.body):
            emit_kernel(program, "kernel")
        emitted = time.perf_counter() - begin
        code = Code(module, ["kernel"])
    rng = np.random.default_rng(0)
    sizes = [packed[v].elements if v in packed else group.types[v].size for v in group.inputs]
    buffers = [rng.standard_normal(size).astype(np.float32) for size in sizes]
    buffers += [np.zeros(group.types[v].size, np.float32) for v in group.outputs]
    pointers = [b.ctypes.data for b in buffers]
    entry, tiles = code.entry("kernel", len(pointers)), program.tile_count

    # with several threads, starting them would cost more than small kernels: each repeats its share of the tiles
    repeats = 1 if threads == 1 else max(1, int(0.05 * flops * threads / max(group.flops, 1)))

    def some(first: int) -> None:
        for _ in range(repeats):
            for tile in range(first, tiles, threads):
                entry(*pointers, tile)

    def all_tiles() -> None:
        others = [threading.Thread(target=some, args=(i,)) for i in range(1, threads)]
        for other in others:
            other.start()
        some(0)
        for other in others:
            other.join()

    seconds = best(all_tiles, runs, time.thread_time if threads == 1 else time.perf_counter) / repeats
    rate = group.flops / seconds
    return Result(
        name, seconds * 1e6, rate / 1e9, rate / (flops * threads), tiles, emitted, code.seconds, repr(schedule)
    )


def results(only: str, threads: int) -> Iterator[Result]:
    device = host_device()
    flops = peak(device)
    print(f"peak {flops / 1e9:.1f} GFLOP/s a core, {threads} threads")
    for name, make in CASES.items():
        if only in name:
            yield measure(name, make(), device, threads, flops)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found = []
    for r in results(options.only, options.threads):
        found.append(dataclasses.asdict(r))
        print(
            f"{r.name:30} {r.microseconds:9.1f} us {r.gflops:6.1f} GFLOP/s {100 * r.of_peak:4.0f} %  {r.tiles:3} tiles"
            f"  emit {r.emit_seconds:.3f} compile {r.compile_seconds:.3f} s  {r.schedule}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
