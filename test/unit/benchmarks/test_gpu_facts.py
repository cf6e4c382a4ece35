"""The measurements of a GPU's facts, rehearsed on one that behaves as the model says; and their PTX by ptxas."""

from collections.abc import Sequence
from typing import Any

import gpu_facts
import numpy as np
import pytest
from gpu_facts import CHASE, EMPTY, MULTIPLY, STREAM, TURN, calibrated, chain, fit_lonely, measure, meet, send

from mlirfuse.device import device_for
from mlirfuse.lowering.nvvm import ptxas

KERNELS = {"empty": EMPTY, "chase": CHASE, "stream": STREAM, "turn": TURN, "multiply": MULTIPLY}
OF_CLUSTERS = {"meet": meet(8), "send": send(8)}
TRUE = {
    **{"launch_seconds": 2e-6, "l2_latency": 170e-9, "dram_latency": 500e-9, "l2_bandwidth": 4e12},
    **{"dram_bandwidth": 3e12, "cluster_bandwidth": 2e12, "cluster_latency": 700e-9},
}
START = 5e-6  # what each graph takes beside


class ModelGpu:
    """A GPU whose kernels take what TRUE says; memory is a dictionary of sizes."""

    device = device_for("h200")

    def __init__(self) -> None:
        self.memory: dict[int, int] = {}
        self.chains: dict[int, int] = {}

    def empty(self, size: int) -> int:
        address = 4096 + sum(self.memory.values())
        self.memory[address] = size
        return address

    def array(self, data: np.ndarray[Any, Any]) -> int:
        address = self.empty(data.nbytes)
        if data.size == 1:
            self.chains[address] = int(data[0])
        return address

    def copy(self, pointer: int, data: np.ndarray[Any, Any]) -> None:
        inside = data[data != 0]
        assert inside.min() == pointer and inside.max() < pointer + self.memory[pointer]

    def seconds(self, kernel: str, blocks: int, threads: int, arguments: Sequence[int], launches: int = 1) -> float:
        cached = lambda size: "l2" if size <= self.device.l2_bytes else "dram"  # noqa: E731
        if kernel == EMPTY:
            return START + launches * TRUE["launch_seconds"]
        if kernel == send(8):
            assert blocks == self.device.multiprocessors_of_clusters(8) and blocks % 8 == 0
            return START + arguments[0] * 7 * 16 * threads * blocks / TRUE["cluster_bandwidth"]
        first, amount, *rounds = arguments
        if kernel == CHASE:
            return START + amount * TRUE[f"{cached(self.memory[self.chains[first]])}_latency"]
        if kernel == STREAM:
            assert amount <= self.memory[first]
            return START + amount * rounds[0] / TRUE[f"{cached(amount)}_bandwidth"]
        if kernel == TURN:
            return START + amount * 40e-9
        if kernel == meet(8):
            assert blocks == 8
            return START + amount * TRUE["cluster_latency"]
        share = threads / (threads + 90)
        return START + amount * 2 * 16 * gpu_facts.STEPS * threads * blocks / (50e12 * share)


def test_measurements_find_what_the_gpu_is() -> None:
    facts, model, samples = measure(ModelGpu())
    assert facts == pytest.approx(TRUE, rel=1e-6)
    assert model == pytest.approx({"SWITCH": 40e-9, "LONELY": 90.0}, rel=1e-6)
    assert samples["flops of many"] == pytest.approx(50e12)


def test_a_gpu_without_clusters_is_not_asked_for_them() -> None:
    class Older(ModelGpu):
        device = device_for("a100")

    facts, _, _ = measure(Older())
    assert facts == pytest.approx({name: v for name, v in TRUE.items() if not name.startswith("cluster")}, rel=1e-6)


def test_fit_stands_some_noise() -> None:
    noise = np.random.default_rng(3).normal(1.0, 0.02, len(gpu_facts.CROWDS))
    rates = {t: 60e12 * t / (t + 64) * float(e) for t, e in zip(gpu_facts.CROWDS, noise, strict=True)}
    lonely, most = fit_lonely(rates)
    assert lonely == pytest.approx(64, rel=0.15) and most == pytest.approx(60e12, rel=0.05)


def test_pointers_are_one_cycle_through_all_lines() -> None:
    offsets, lines, at, seen = chain(1 << 14), (1 << 14) // gpu_facts.LINE, 0, set()
    for _ in range(lines):
        seen.add(at)
        at = int(offsets[at // 8])
    assert at == 0 and seen == set(range(0, 1 << 14, gpu_facts.LINE))


def test_measured_facts_take_the_place_of_the_tables() -> None:
    device = device_for("h100")
    found = calibrated(device, {"facts": TRUE})
    assert found.l2_latency == 170e-9 and found.multiprocessors == device.multiprocessors
    with pytest.raises(ValueError, match="name are no facts that are measured"):
        calibrated(device, {"facts": {"name": "other"}})


@pytest.mark.skipif(not ptxas.available(), reason="ptxas is not installed")
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("chip", ["sm_80", "sm_90"])
def test_kernels_assemble_without_spills(name: str, chip: str) -> None:
    found = ptxas.assemble(KERNELS[name], chip)
    assert found.spill_store_bytes == 0 and found.registers <= 64


@pytest.mark.skipif(not ptxas.available(), reason="ptxas is not installed")
@pytest.mark.parametrize("name", OF_CLUSTERS)
def test_kernels_of_clusters_assemble_without_spills(name: str) -> None:
    found = ptxas.assemble(OF_CLUSTERS[name], "sm_90")
    assert found.spill_store_bytes == 0 and found.registers <= 64 and not found.warnings
