"""What the rounds with and without groups that cross layers say, on made-up figures."""

from pathlib import Path

import cross_layer_cpu
import pytest
from measured import Measured

HERE = {"cpu": "Abacus 3000", "cores": 2, "vector_bits": 64}


def entry(off, on, again):
    return {"network": "n", "threads": 1, "launches": [31, 20], "seconds": [off, on, again], "error": 0.0}


def test_a_ratio_is_of_neighbouring_processes():
    drifting = entry([1.0, 2.0, 4.0], [0.9, 1.8, 3.6], [1.0, 2.0, 4.0])
    assert cross_layer_cpu.ratio(drifting) == pytest.approx(0.9)
    assert cross_layer_cpu.noise(drifting) == 0.01


def test_slower_is_what_noise_does_not_explain():
    steady = entry([1.0] * 4, [1.03] * 4, [1.005] * 4)
    noisy = entry([1.0] * 4, [1.03] * 4, [1.0, 1.06, 1.05, 0.99])
    assert cross_layer_cpu.is_slower(steady)
    assert not cross_layer_cpu.is_slower(noisy)
    assert not cross_layer_cpu.is_slower(entry([1.0] * 4, [1.009] * 4, [1.0] * 4))


def test_what_is_slower_is_named(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(cross_layer_cpu, "machine", lambda: HERE)
    path = tmp_path / "r.json"
    arguments = ["--networks", "", "--results", str(path)]
    assert cross_layer_cpu.main(arguments) == 1  # nothing was measured
    Measured(path, HERE).put("good 1", entry([0.002] * 3, [0.001] * 3, [0.002] * 3))
    assert cross_layer_cpu.main(arguments) == 0
    assert "| n | 1 | 31 | 20 | 2 | 1 | 0.500 | 0.010 |" in capsys.readouterr().out
    Measured(path, HERE).put("bad 1", entry([0.001] * 3, [0.002] * 3, [0.001] * 3))
    assert cross_layer_cpu.main(arguments) == 1
    assert "bad 1" in capsys.readouterr().err
