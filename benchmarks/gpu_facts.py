"""Facts of the GPU at hand that no data sheet has: times between launches, latencies, bandwidths, what barriers take.

    python benchmarks/gpu_facts.py [--results FILE]

Measured, each as the slope between two amounts of work, so that what surrounds it cancels:

    launch_seconds    from one kernel to the next in a replayed graph, with a block on each multiprocessor
    l2_latency        one thread follows pointers through a quarter of the second cache, past the first
    dram_latency      and through several times as much as that holds
    l2_bandwidth      all multiprocessors read a quarter of the second cache, again and again
    dram_bandwidth    and several times as much as it holds
    cluster_bandwidth all multiprocessors store to the shared memory of all others of their cluster, in full clusters
    cluster_latency   256 threads of each block of a cluster store a word to that of the next, and all wait for all;
                      both where the GPU has clusters
    SWITCH            256 threads store a word to shared memory, wait for each other and load a neighbour's
    LONELY            threads on a multiprocessor that reach half of the rate at which many multiply and add what they
                      load from shared memory, in register tiles of 4 x 4: fitted to rates of 64 to 1024 threads

Results go to results/gpu_facts.json, beside what mlirfuse.device has of them (LONELY is in lowering/groups/gpu_cost.py,
SWITCH in gpu_stages.py). `facts` of that file are fields of mlirfuse.device.Device: `calibrated` gives a device that
has them. It needs numpy, cuda-bindings and a driver that assembles PTX.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

if importlib.util.find_spec("mlirfuse") is None:  # a machine with the checkout alone
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measured import RESULTS, today

from mlirfuse.artifact import Launch
from mlirfuse.device import Device, product
from mlirfuse.files import write_file
from mlirfuse.runtime.cuda.code import LoadedKernel
from mlirfuse.runtime.cuda.context import Context, DeviceBuffer
from mlirfuse.runtime.cuda.driver import Driver
from mlirfuse.runtime.cuda.flow import Flow, launch_action

FACTS = (
    *("launch_seconds", "l2_latency", "dram_latency", "l2_bandwidth", "dram_bandwidth"),
    *("cluster_bandwidth", "cluster_latency"),
)
LINE = 128  # bytes between the pointers that are followed: no two in one line
TURN_THREADS = 256
CROWDS = (64, 96, 128, 192, 256, 384, 512, 768, 1024)  # threads on a multiprocessor
STEPS = 8  # of a slice of the register tile, each 16 multiply-adds of 8 elements
SENDERS = 1024  # threads of a block that store to others, 16 bytes each
RUNS = 7

_HEAD = """.version 8.0
.target {chip}
.address_size 64
.visible .entry kernel({parameters}) {directives}
{{
  .reg .pred %p<4>; .reg .b32 %r<32>; .reg .b64 %q<16>; .reg .f32 %f<64>;
{body}
  ret;
}}
"""


def ptx(parameters: Sequence[str], body: str, cluster: int = 1) -> str:
    """A kernel of 64-bit parameters, which are in %q0, %q1, ... when the body begins; its blocks in clusters, if any.

    The launch need not tell their size, which `.reqnctapercluster` fixes (PTX ISA, "Cluster Dimension Directives").
    """
    declared = ", ".join(f".param .u64 {name}" for name in parameters)
    loads = "\n".join(f"  ld.param.u64 %q{i}, [{name}];" for i, name in enumerate(parameters))
    chip, directives = (
        ("sm_80", "") if cluster == 1 else ("sm_90", f".explicitcluster .reqnctapercluster {cluster}, 1, 1")
    )
    return _HEAD.format(chip=chip, parameters=declared, directives=directives, body=f"{loads}\n{body}")


EMPTY = ptx((), "")
# place: where the pointer to follow next is kept from launch to launch
CHASE = ptx(
    ("place", "steps"),
    """  ld.global.u64 %q2, [%q0];
again:
  ld.global.cg.u64 %q2, [%q2];
  sub.u64 %q1, %q1, 1;
  setp.ne.u64 %p0, %q1, 0;
  @%p0 bra again;
  st.global.u64 [%q0], %q2;""",
)
# each thread reads 16 bytes in turn, four times in flight; the sum is stored where it is a number that it cannot be
STREAM = ptx(
    ("data", "bytes", "rounds"),
    """  mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x; mov.u32 %r3, %nctaid.x;
  mad.lo.u32 %r4, %r0, %r1, %r2;
  mul.wide.u32 %q3, %r4, 16;
  mul.lo.u32 %r5, %r1, %r3;
  mul.wide.u32 %q4, %r5, 16;
  mov.f32 %f0, 0f00000000;
  add.u64 %q5, %q0, %q1;
round:
  add.u64 %q6, %q0, %q3;
next:
"""
    + "".join(
        f"  ld.global.cg.v4.f32 {{%f{4 * i + 1},%f{4 * i + 2},%f{4 * i + 3},%f{4 * i + 4}}}, [%q6];\n"
        "  add.u64 %q6, %q6, %q4;\n"
        for i in range(4)
    )
    + "".join(f"  add.f32 %f0, %f0, %f{i};\n" for i in range(1, 17))
    + """  setp.lt.u64 %p0, %q6, %q5;
  @%p0 bra next;
  sub.u64 %q2, %q2, 1;
  setp.ne.u64 %p1, %q2, 0;
  @%p1 bra round;
  setp.eq.f32 %p2, %f0, 0f7F7FFFFF;
  @%p2 st.global.f32 [%q0], %f0;""",
)
TURN = ptx(
    ("place", "rounds"),
    f"""  .shared .align 16 .b32 words[{TURN_THREADS}];
  mov.u32 %r0, %tid.x; mov.u32 %r1, words;
  shl.b32 %r2, %r0, 2; add.u32 %r3, %r1, %r2;
  xor.b32 %r4, %r2, 128; add.u32 %r4, %r1, %r4;
  mov.u32 %r5, %r0;
again:
  st.shared.u32 [%r3], %r5;
  bar.sync 0;
  ld.shared.u32 %r5, [%r4];
  sub.u64 %q1, %q1, 1;
  setp.ne.u64 %p0, %q1, 0;
  @%p0 bra again;
  setp.eq.u32 %p1, %r5, -1;
  @%p1 st.global.u32 [%q0], %r5;""",
)


def _multiply() -> str:
    """A thread's share of the slices of a register tile, what others would bring to shared memory left out."""
    lines = [
        f"  .shared .align 16 .b8 slice[{2 * STEPS * 64 * 4}];",
        "  mov.u32 %r0, %tid.x; mov.u32 %r1, slice;",
        "  and.b32 %r2, %r0, 15; shl.b32 %r2, %r2, 4; add.u32 %r2, %r1, %r2;",
        "  shr.u32 %r3, %r0, 4; and.b32 %r3, %r3, 15; shl.b32 %r3, %r3, 4; add.u32 %r3, %r1, %r3;",
        *(f"  mov.f32 %f{i}, 0f00000000;" for i in range(16)),
        "again:",
    ]
    for step in range(STEPS):
        a, b = 16 + 8 * (step % 2), 20 + 8 * (step % 2)
        for first, pointer, offset in ((a, "%r2", 256 * step), (b, "%r3", 256 * (STEPS + step))):
            registers = ",".join(f"%f{first + i}" for i in range(4))
            lines.append(f"  ld.volatile.shared.v4.f32 {{{registers}}}, [{pointer}+{offset}];")
        lines += [f"  fma.rn.f32 %f{i}, %f{a + i % 4}, %f{b + i // 4}, %f{i};" for i in range(16)]
    lines += [
        "  bar.sync 0;",
        "  sub.u64 %q1, %q1, 1;",
        "  setp.ne.u64 %p0, %q1, 0;",
        "  @%p0 bra again;",
        *(f"  add.f32 %f0, %f0, %f{i};" for i in range(1, 16)),
        "  setp.eq.f32 %p1, %f0, 0f7F7FFFFF;",
        "  @%p1 st.global.f32 [%q0], %f0;",
    ]
    return ptx(("place", "rounds"), "\n".join(lines))


MULTIPLY = _multiply()
_MEET = "  barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"


def meet(cluster: int) -> str:
    """Each block leaves words with the next of its cluster, and they wait for each other."""
    return ptx(
        ("place", "rounds"),
        f"""  .shared .align 16 .b32 words[{TURN_THREADS}];
  mov.u32 %r0, %tid.x; mov.u32 %r1, words; mov.u32 %r2, %cluster_ctarank;
  add.u32 %r2, %r2, 1; rem.u32 %r2, %r2, {cluster};
  shl.b32 %r3, %r0, 2; add.u32 %r3, %r1, %r3;
  mapa.shared::cluster.u32 %r4, %r3, %r2;
  mov.u32 %r5, %r0;
{_MEET}
again:
  st.shared::cluster.u32 [%r4], %r5;
{_MEET}
  ld.shared.u32 %r5, [%r3];
  sub.u64 %q1, %q1, 1;
  setp.ne.u64 %p0, %q1, 0;
  @%p0 bra again;
  setp.eq.u32 %p1, %r5, -1;
  @%p1 st.global.u32 [%q0], %r5;""",
        cluster,
    )


def send(cluster: int) -> str:
    """In each round, each thread stores 16 bytes to every other block of its cluster."""
    registers = "{%f0,%f1,%f2,%f3}"
    lines = [
        f"  .shared .align 16 .b8 inbox[{16 * SENDERS}];",
        "  mov.u32 %r0, %tid.x; mov.u32 %r1, inbox; mov.u32 %r2, %cluster_ctarank;",
        "  shl.b32 %r3, %r0, 4; add.u32 %r3, %r1, %r3;",
    ]
    for other in range(1, cluster):
        lines += [
            f"  add.u32 %r4, %r2, {other}; rem.u32 %r4, %r4, {cluster};",
            f"  mapa.shared::cluster.u32 %r{4 + other}, %r3, %r4;",
        ]
    lines += [*(f"  mov.f32 %f{i}, 0f3F800000;" for i in range(4)), _MEET, "again:"]
    lines += [f"  st.shared::cluster.v4.f32 [%r{4 + other}], {registers};" for other in range(1, cluster)]
    lines += ["  sub.u64 %q0, %q0, 1;", "  setp.ne.u64 %p0, %q0, 0;", "  @%p0 bra again;", _MEET]
    return ptx(("rounds",), "\n".join(lines), cluster)


class Gpu(Protocol):
    """What the measurements ask of a GPU."""

    device: Device

    def seconds(self, kernel: str, blocks: int, threads: int, arguments: Sequence[int], launches: int = 1) -> float:
        """Of so many launches in one graph, the least of several runs. `kernel` is its PTX."""

    def array(self, data: np.ndarray[Any, Any]) -> int:
        """The address of a copy of `data`, which stays."""

    def empty(self, size: int) -> int:
        """The address of so many bytes of zeros."""

    def copy(self, pointer: int, data: np.ndarray[Any, Any]) -> None:
        """Put `data` there."""


def measure(gpu: Gpu) -> tuple[dict[str, float], dict[str, float], dict[str, Any]]:
    """Facts of the device, constants of the model, and samples that these were fitted to."""
    near, far = gpu.device.l2_bytes // 4, max(8 * gpu.device.l2_bytes, 1 << 28)
    facts = {
        "launch_seconds": _launch(gpu),
        "l2_latency": _latency(gpu, near),
        "dram_latency": _latency(gpu, far),
        "l2_bandwidth": _bandwidth(gpu, near, 64),
        "dram_bandwidth": _bandwidth(gpu, far, 4),
    }
    if gpu.device.cluster_blocks > 1:
        facts |= {"cluster_bandwidth": _sending(gpu), "cluster_latency": _meeting(gpu)}
    rates = _rates(gpu)
    lonely, most = fit_lonely(rates)
    return facts, {"SWITCH": _turn(gpu), "LONELY": lonely}, {"flops": rates, "flops of many": most}


def _launch(gpu: Gpu) -> float:
    few, many = 100, 1100
    times = [gpu.seconds(EMPTY, gpu.device.multiprocessors, 128, (), n) for n in (few, many)]
    return (times[1] - times[0]) / (many - few)


def chain(size: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Offsets of the pointers in `size` bytes: from each line to another, one cycle through all."""
    lines = size // LINE
    order = np.random.default_rng(seed).permutation(lines)
    found = np.zeros(lines * (LINE // 8), np.int64)
    found[order * (LINE // 8)] = np.roll(order, -1) * LINE
    return found


def _latency(gpu: Gpu, size: int) -> float:
    """Of one load that follows another."""
    offsets = chain(size)
    base = gpu.empty(offsets.nbytes)
    pointers = np.where(np.arange(len(offsets)) % (LINE // 8) == 0, offsets + base, 0)
    place = gpu.array(np.array([base], np.int64))
    gpu.copy(base, pointers)
    lines = size // LINE
    if size <= gpu.device.l2_bytes:
        gpu.seconds(CHASE, 1, 1, (place, lines))  # all of it in the cache
    few, many = 20_000, 100_000
    times = [gpu.seconds(CHASE, 1, 1, (place, n)) for n in (few, many)]
    return (times[1] - times[0]) / (many - few)


def _bandwidth(gpu: Gpu, size: int, rounds: int) -> float:
    """Bytes a second of all multiprocessors."""
    threads, blocks = 1024, 2 * gpu.device.multiprocessors
    turn = 16 * threads * blocks * 4  # bytes that all threads read together in one turn
    size = max(1, size // turn) * turn
    data = gpu.empty(size)
    times = [gpu.seconds(STREAM, blocks, threads, (data, size, n)) for n in (rounds, 3 * rounds)]
    return 2 * rounds * size / (times[1] - times[0])


def _turn(gpu: Gpu) -> float:
    place = gpu.empty(4)
    few, many = 10_000, 50_000
    times = [gpu.seconds(TURN, 1, TURN_THREADS, (place, n)) for n in (few, many)]
    return (times[1] - times[0]) / (many - few)


def _sending(gpu: Gpu) -> float:
    """Bytes a second that reach other blocks, from all multiprocessors that clusters of the largest size keep busy."""
    cluster = gpu.device.cluster_blocks
    blocks = gpu.device.multiprocessors_of_clusters(cluster)
    few, many = 2_000, 10_000
    times = [gpu.seconds(send(cluster), blocks, SENDERS, (n,)) for n in (few, many)]
    return 16 * (cluster - 1) * SENDERS * blocks * (many - few) / (times[1] - times[0])


def _meeting(gpu: Gpu) -> float:
    """Seconds of a barrier of a cluster of the largest size, and of the stores that it waits for."""
    cluster, place = gpu.device.cluster_blocks, gpu.empty(4)
    few, many = 10_000, 50_000
    times = [gpu.seconds(meet(cluster), cluster, TURN_THREADS, (place, n)) for n in (few, many)]
    return (times[1] - times[0]) / (many - few)


def _rates(gpu: Gpu) -> dict[int, float]:
    """Operations a second by threads of the one block on each multiprocessor."""
    place, blocks = gpu.empty(4), gpu.device.multiprocessors
    few, many, found = 2_000, 10_000, {}
    for threads in CROWDS:
        times = [gpu.seconds(MULTIPLY, blocks, threads, (place, n)) for n in (few, many)]
        found[threads] = 2 * 16 * STEPS * threads * blocks * (many - few) / (times[1] - times[0])
    return found


def fit_lonely(rates: Mapping[int, float]) -> tuple[float, float]:
    """LONELY and R of rate = R x threads / (threads + LONELY), by least squares of relative errors.

    With x = 1 / R and y = LONELY / R it is linear: rate x (x + y / threads) = 1.
    """
    threads, rate = (np.array(v, np.float64) for v in (list(rates), list(rates.values())))
    matrix = np.stack([rate, rate / threads], axis=1) / rate.max()
    x, y = np.linalg.lstsq(matrix, np.ones(len(rate)), rcond=None)[0]
    return float(y / x), float(rate.max() / x)


def calibrated(device: Device, data: Mapping[str, Any]) -> Device:
    """The device with the measured `facts` of a results file in place of those of the tables."""
    unknown = sorted(set(data["facts"]) - set(FACTS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} are no facts that are measured; these are {', '.join(FACTS)}")
    return dataclasses.replace(device, **data["facts"])


class CudaGpu:
    """The first GPU of this machine."""

    def __init__(self) -> None:
        self.context = Context(0, Driver())
        found = product(self.context.name, self.context.capability)  # type: ignore[arg-type]
        if found is None:
            raise SystemExit(f"{self.context.name}: GPUs from compute capability 8.0 on are measured.")
        self.device = found
        self._kernels: dict[str, LoadedKernel] = {}
        self._buffers: list[DeviceBuffer] = []

    def array(self, data: np.ndarray[Any, Any]) -> int:
        pointer = self.empty(data.nbytes)
        self.copy(pointer, data)
        return pointer

    def empty(self, size: int) -> int:
        with self.context.current():
            self._buffers.append(DeviceBuffer(self.context, size))
            self.context.driver.call("cuMemsetD8", self._buffers[-1].pointer, 0, size)
        return self._buffers[-1].pointer

    def copy(self, pointer: int, data: np.ndarray[Any, Any]) -> None:
        held = np.ascontiguousarray(data)
        with self.context.current():
            self.context.driver.call("cuMemcpyHtoD", pointer, held.ctypes.data, held.nbytes)

    def seconds(self, kernel: str, blocks: int, threads: int, arguments: Sequence[int], launches: int = 1) -> float:
        driver = self.context.driver
        with self.context.current():
            if kernel not in self._kernels:
                module = driver.call("cuModuleLoadData", kernel.encode() + b"\0")
                function = driver.call("cuModuleGetFunction", module, b"kernel")
                driver.call("cuFuncLoad", function)
                self._kernels[kernel] = LoadedKernel(function, 0, module)
            step = Launch("kernel", (blocks, 1, 1), (threads, 1, 1), 0, ())
            flow = Flow(self.context, [launch_action(self.context, step, self._kernels[kernel], arguments)] * launches)
            flow.start()
            self.context.synchronize()
            flags = int(driver.api.CUevent_flags.CU_EVENT_DEFAULT)
            start, stop = (driver.call("cuEventCreate", flags) for _ in range(2))
            times = []
            for _ in range(RUNS):
                driver.call("cuEventRecord", start, self.context.stream)
                flow.start()
                driver.call("cuEventRecord", stop, self.context.stream)
                self.context.synchronize()
                times.append(driver.call("cuEventElapsedTime", start, stop) * 1e-3)
            for event in (start, stop):
                driver.call("cuEventDestroy", event)
        return min(times)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", metavar="FILE", type=Path, default=RESULTS / "gpu_facts.json")
    args = parser.parse_args(argv)
    gpu = CudaGpu()
    facts, model, samples = measure(gpu)
    for name, value in facts.items():
        print(f"{name:18} measured {value:10.4g}, in the tables {getattr(gpu.device, name):10.4g}")
    for name, value in model.items():
        print(f"{name:18} measured {value:10.4g}")
    data = {"device": gpu.device.name, "date": today(), "facts": facts, "model": model, "samples": samples}
    write_file(args.results, (json.dumps(data, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
