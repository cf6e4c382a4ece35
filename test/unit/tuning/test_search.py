"""A search finds what is fast among what is legal, and a network takes what was found."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlirfuse import CompileOptions, load
from mlirfuse.compiler import compile_artifact
from mlirfuse.lowering.profile import FoundSchedule, ProfileDatabase
from mlirfuse.tuning import tune_schedules
from mlirfuse.tuning.search import CHOSEN, search

SPACE = [json.dumps({"rows": rows, "columns": columns}) for rows in range(1, 9) for columns in range(1, 9)]


def valley(schedule: str) -> float:
    """Seconds that are least at 6 rows and 3 columns."""
    if schedule == CHOSEN:
        return 30.0
    data = json.loads(schedule)
    return 1.0 + (data["rows"] - 6) ** 2 + (data["columns"] - 3) ** 2


def test_more_trials_come_nearer() -> None:
    found = [search(SPACE, valley, trials) for trials in (1, 8, 24, len(SPACE) + 1)]
    assert found[0] is not None and found[0].schedule == CHOSEN and found[0].trials == 1
    seconds = [outcome.seconds for outcome in found if outcome is not None]
    assert seconds == sorted(seconds, reverse=True) and seconds[1] < 30 and seconds[2] < 5
    assert found[-1] is not None and json.loads(found[-1].schedule) == {"rows": 6, "columns": 3}
    assert found[-1].chosen_seconds == 30.0


def test_a_search_is_repeatable_and_measures_nothing_twice() -> None:
    def order(seed: int) -> list[str]:
        asked: list[str] = []
        search(SPACE, lambda schedule: asked.append(schedule) or valley(schedule), 20, seed)  # type: ignore[func-returns-value]
        return asked

    assert order(0) == order(0) != order(1)
    assert len(set(order(0))) == 20 and order(0)[:4] == [CHOSEN, *SPACE[:3]]


def test_what_fails_is_not_found() -> None:
    assert search(SPACE, lambda schedule: None, 8) is None
    outcome = search(SPACE, lambda schedule: 1.0 if schedule == CHOSEN else None, 8)
    assert outcome is not None and (outcome.schedule, outcome.trials) == (CHOSEN, 8)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """relu(x @ w): one group, whose tiles can be chosen in many ways."""
    monkeypatch.setenv("MLIRFUSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MLIRFUSE_WORKERS", "1")
    w = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="project"),
        helper.make_node("Relu", ["a"], ["y"], name="clip"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "one", [value("x", TensorProto.FLOAT, [32, 64])], [value("y", TensorProto.FLOAT, [32, 48])],
        [numpy_helper.from_array(w, "w")],
    )  # fmt: skip
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), tmp_path / "one.onnx")
    return str(tmp_path / "one.onnx")


def test_a_network_takes_what_was_found(tmp_path: Path, model: str) -> None:
    database = ProfileDatabase(tmp_path / "p.db")
    first = tune_schedules(model, "cpu", CompileOptions(), database, trials=3)
    assert first.complete and (first.groups, first.searched) == (1, 1) and not first.failed
    (row,) = database.schedules()
    assert row.trials == 3 and row.seconds <= row.chosen_seconds
    again = tune_schedules(model, "cpu", CompileOptions(), database, trials=3)
    assert (again.searched, again.answered, again.digest) == (0, 1, first.digest)

    plain = compile_artifact(model, "cpu", isolated=False)
    chosen = plain.report["kernels"][0]["schedule"]
    planted = {**chosen, "rows": 1, "columns": 1, "panels": 1}
    assert planted != chosen
    database.store(_with_schedule(row, planted))
    tuned = compile_artifact(model, "cpu", tuning=database, isolated=False)
    assert tuned.report["kernels"][0]["schedule"] == planted
    assert tuned.options["tuning"] == database.digest() != first.digest
    x = np.random.default_rng(1).standard_normal((32, 64)).astype(np.float32)
    outputs = [load(artifact, threads=1).run(x)["y"] for artifact in (plain, tuned)]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)

    database.store(_with_schedule(row, {**chosen, "rows": 1000}))  # another compiler's idea of what is legal
    assert compile_artifact(model, "cpu", tuning=database, isolated=False).report["kernels"][0]["schedule"] == chosen


def _with_schedule(row: FoundSchedule, schedule: dict[str, object]) -> FoundSchedule:
    import dataclasses

    return dataclasses.replace(row, schedule=json.dumps(schedule))
