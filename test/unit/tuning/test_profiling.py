"""A whole run of the tuner on a small network: it measures what planning asks, once, and planning listens."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mlirfuse import CompileOptions, load
from mlirfuse.cli.main import main
from mlirfuse.compiler import compile_artifact
from mlirfuse.errors import UnsupportedTarget
from mlirfuse.lowering.profile import ProfileDatabase
from mlirfuse.tuning import ProfileSummary, run, tune_profile
from mlirfuse.tuning.candidates import CANDIDATE
from mlirfuse.tuning.measure import Measured


def turned_softmax() -> onnx.ModelProto:
    """Two layers of softmax and transpose: alike but for their shapes and names."""
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"], name="weigh", axis=1),
        helper.make_node("Transpose", ["a"], ["b"], name="turn", perm=[1, 0]),
        helper.make_node("Softmax", ["b"], ["c"], name="weigh2", axis=1),
        helper.make_node("Transpose", ["c"], ["y"], name="turn2", perm=[1, 0]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "turned", [value("x", TensorProto.FLOAT, [32, 48])], [value("y", TensorProto.FLOAT, [32, 48])]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLIRFUSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MLIRFUSE_WORKERS", "1")
    onnx.save(turned_softmax(), tmp_path / "turned.onnx")
    return str(tmp_path / "turned.onnx")


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled or run: each operation of a group takes twice as long as the one before it."""

    class InProcess(run.WorkerPool):
        def run(self, function, jobs):  # type: ignore[no-untyped-def]
            return {name: function(job) for name, job in jobs.items()}

    def measure(job: run.Job) -> Measured:
        operations = (Path(job.folder) / f"{job.key}.mlir").read_text().count(CANDIDATE)
        return Measured(1e-6 * (2**operations - 1), 1e-7, 1e-3, 60)

    monkeypatch.setattr(run, "WorkerPool", InProcess)
    monkeypatch.setattr(run, "compile_candidate", lambda job: None)
    monkeypatch.setattr(run, "measure_candidate", measure)


def tuned(model: str, database: ProfileDatabase, **settings: object) -> ProfileSummary:
    return tune_profile(model, "cpu", CompileOptions(), database, **settings)  # type: ignore[arg-type]


def test_a_run_answers_every_question(tmp_path: Path, model: str) -> None:
    database = ProfileDatabase(tmp_path / "p.db")
    said: list[str] = []
    first = tuned(model, database, progress=said.append)
    assert first.complete and first.answered == first.questions > 0 and not first.failed
    rows = database.measurements()
    assert first.measured == len(rows) > 0
    assert all(0 < m.p10 <= m.seconds <= m.p90 < 1 and m.runs >= 60 for m in rows)
    assert any("groups: weigh" in text for text in said)
    again = tuned(model, database)
    assert (again.measured, again.rounds, again.digest) == (0, 1, first.digest)


@pytest.mark.usefixtures("pretended")
def test_an_interrupted_run_goes_on(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = ProfileDatabase(tmp_path / "p.db")
    measure, calls = run.measure_candidate, 0

    def interrupted(job: run.Job) -> Measured:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return measure(job)

    with monkeypatch.context() as patch:
        patch.setattr(run, "measure_candidate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tuned(model, database)
    kept = database.measurements()
    assert len(kept) == 2
    rest = tuned(model, database)
    assert rest.complete and rest.measured > 0
    assert set(kept) < set(database.measurements())


@pytest.mark.usefixtures("pretended")
def test_a_spent_budget_stops_and_says_so(tmp_path: Path, model: str) -> None:
    database = ProfileDatabase(tmp_path / "p.db")
    summary = tuned(model, database, budget=1e-9)
    assert (summary.measured, summary.complete) == (0, False)
    assert database.measurements() == ()


@pytest.mark.usefixtures("pretended")
def test_a_group_that_cannot_be_measured_is_named(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(job: run.Job) -> None:
        raise run.CandidateFailed("no schedule")

    monkeypatch.setattr(run, "compile_candidate", refuse)
    summary = tuned(model, ProfileDatabase(tmp_path / "p.db"))
    assert summary.measured == 0 and summary.complete
    assert "no schedule" in summary.failed["weigh"]


@pytest.mark.parametrize("target", ["simulator", "cuda:sm_61", "vulkan:mali-g710"])
def test_nothing_is_measured_where_the_target_is_not(tmp_path: Path, model: str, target: str) -> None:
    with pytest.raises(UnsupportedTarget):
        tune_profile(model, target, CompileOptions(), ProfileDatabase(tmp_path / "p.db"))
    assert not (tmp_path / "p.db").exists()


@pytest.mark.usefixtures("pretended")
def test_compiling_listens_to_the_database(tmp_path: Path, model: str) -> None:
    database = ProfileDatabase(tmp_path / "p.db")
    tuned(model, database)
    apart = compile_artifact(model, "cpu", tuning=database)
    together = compile_artifact(model, "cpu", isolated=False)
    assert apart.report["totals"]["launches"] > together.report["totals"]["launches"]
    assert apart.options["tuning"] == database.digest() and together.options["tuning"] is None
    (tmp_path / "moved.db").write_bytes(database.path.read_bytes())
    moved = compile_artifact(model, "cpu", tuning=tmp_path / "moved.db", isolated=False)
    assert _content(apart) == _content(moved)
    x = np.random.default_rng(0).standard_normal((32, 48)).astype(np.float32)
    outputs = [load(artifact, threads=1).run(x)["y"] for artifact in (together, apart)]
    np.testing.assert_allclose(*outputs, rtol=1e-6)


def _content(artifact: object) -> bytes:
    """The artifact's bytes but for how long compiling took."""
    report = {k: v for k, v in artifact.report.items() if k != "compile_seconds"}  # type: ignore[attr-defined]
    return dataclasses.replace(artifact, report=report).to_bytes()  # type: ignore[type-var]


@pytest.mark.usefixtures("pretended")
def test_the_command_line(tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "p.db")
    assert main(["tune", "--profile", model, "--database", path, "--threads", "1", "--json", "-"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert summary["complete"] and summary["measured"] > 0
    assert main(["tune", "--list", "--database", path]) == 0
    listed = capfd.readouterr().out
    assert "1 thread " in listed and "softmax:32x48xfloat32" in listed
    assert main(["tune", "--merge", path, "--list", "--database", str(tmp_path / "all.db"), "--json", "-"]) == 0
    merged = json.loads(capfd.readouterr().out)
    assert merged["merged"] == {path: summary["measured"]} and merged["digest"] == summary["digest"]


@pytest.mark.usefixtures("pretended")
def test_explain_shows_what_was_measured(tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]) -> None:
    database = ProfileDatabase(tmp_path / "p.db")
    tuned(model, database)
    assert main(["explain", model, "--tuning", str(database.path), "--json", "-"]) == 0
    edges = json.loads(capfd.readouterr().out)["edges"]
    numbers = next(e["numbers"] for e in edges if e["producer"] == ["weigh"])
    assert numbers["source"] == "measured" and numbers["seconds_together"] > numbers["seconds_apart"]
    assert main(["explain", model, "--tuning", str(database.path)]) == 0
    assert re.search(r"as measured.*source=measured", capfd.readouterr().out)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["tune"], "with --profile it measures what fusion leaves open, --merge OTHER joins databases"),
        (["tune", "--profile"], "--profile measures the open questions of a MODEL"),
        (["tune", "MODEL", "--tuning", "other.db"], "name it by --database, and leave --tuning out"),
        (["tune", "--list", "--database", "none.db"], "The profile database none.db does not exist"),
        (["compile", "MODEL", "--tuning", "none.db"], "The profile database none.db does not exist"),
        (["explain", "MODEL", "--tuning", "MODEL"], "is no profile database, but some other file"),
    ],
)
def test_what_is_wrong_is_said_in_a_paragraph(
    model: str, argv: list[str], complaint: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(model).parent)
    assert main([model if a == "MODEL" else a for a in argv]) == 1
    err = capfd.readouterr().err
    assert complaint in err and err.count("\n") == 1 and "Traceback" not in err
