"""What the rounds with and without groups that cross layers say, on made-up figures."""

import functools
import random
from pathlib import Path
from types import SimpleNamespace

import cross_layer_cpu
import pytest
from measured import Measured

from mlirfuse import zoo
from mlirfuse.compiler import compile_artifact
from mlirfuse.options import CompileOptions

HERE = {"cpu": "Abacus 3000", "cores": 2, "vector_bits": 64}


def entry(off, on, again):
    return {"network": "n", "threads": 1, "launches": [31, 20], "seconds": [off, on, again], "error": 0.0}


def test_a_ratio_is_of_neighbouring_processes():
    drifting = entry([1.0, 2.0, 4.0], [0.9, 1.8, 3.6], [1.0, 2.0, 4.0])
    assert cross_layer_cpu.ratios(drifting) == pytest.approx([0.9] * 3)


def test_the_median_lies_in_its_interval_as_often_as_it_says():
    chance = random.Random(7)
    for rounds in (6, 7, 9, 15, 21):
        held = 0
        for _ in range(2000):
            low, high = cross_layer_cpu.interval([chance.lognormvariate(0, 1) for _ in range(rounds)])
            held += low <= 1 <= high  # the median of that distribution is 1
        assert 0.94 <= held / 2000 <= 0.99


def test_an_interval_leaves_out_what_is_far_off_where_there_are_enough_rounds():
    assert cross_layer_cpu.interval([3, 1, 2]) == (1, 3)
    assert cross_layer_cpu.interval([5, 1, 2, 3, 4, 6, 7, 8, 90]) == (2, 8)  # of nine, all but one at either end


def test_slower_is_what_chance_does_not_explain():
    assert cross_layer_cpu.is_slower(entry([1.0] * 7, [1.03] * 7, [1.005] * 7))
    assert not cross_layer_cpu.is_slower(entry([1.0] * 7, [1.009] * 7, [1.0] * 7))
    noisy = entry([1.0] * 7, [1.03, 0.99, 1.06, 1.05, 1.01, 0.98, 1.04], [1.0] * 7)
    assert not cross_layer_cpu.is_slower(noisy)


def test_rounds_of_the_same_code_are_added_to(tmp_path: Path, monkeypatch):
    asked = []

    def race(contestants, conditions, rounds):
        asked.append(rounds)
        return [SimpleNamespace(to_dict=lambda s=s: {"rounds": [s] * rounds}) for s in (2.0, 1.0, 2.0)]

    monkeypatch.setattr(cross_layer_cpu, "machine", lambda: HERE)
    compiled = functools.cache(lambda way: compile_artifact(zoo.build("lenet5"), "cpu", CompileOptions(fusion=way)))
    monkeypatch.setattr(cross_layer_cpu, "compile_artifact", lambda _model, _target, options: compiled(options.fusion))
    monkeypatch.setattr(cross_layer_cpu, "race", race)
    monkeypatch.setattr(cross_layer_cpu, "_difference", lambda *_: 0.0)
    path = tmp_path / "r.json"
    arguments = ["--networks", "lenet5", "--threads", "1", "--results", str(path), "--rounds"]
    for rounds in ("3", "3", "8"):
        assert cross_layer_cpu.main([*arguments, rounds]) == 0
    assert asked == [3, 5]
    assert [len(s) for s in Measured(path, HERE).entries["lenet5 1"]["seconds"]] == [8] * 3
    assert cross_layer_cpu.main([*arguments, "2", "--force"]) == 0
    assert [len(s) for s in Measured(path, HERE).entries["lenet5 1"]["seconds"]] == [2] * 3


def test_what_is_slower_is_named(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(cross_layer_cpu, "machine", lambda: HERE)
    path = tmp_path / "r.json"
    arguments = ["--networks", "", "--results", str(path)]
    assert cross_layer_cpu.main(arguments) == 1  # nothing was measured
    Measured(path, HERE).put("good 1", entry([0.002] * 3, [0.001] * 3, [0.002] * 3))
    assert cross_layer_cpu.main(arguments) == 0
    assert "| n | 1 | 31 | 20 | 2 | 1 | 3 | 0.500 | 0.500 | 0.500 |" in capsys.readouterr().out
    Measured(path, HERE).put("bad 1", entry([0.001] * 3, [0.002] * 3, [0.001] * 3))
    assert cross_layer_cpu.main(arguments) == 1
    assert "bad 1" in capsys.readouterr().err
