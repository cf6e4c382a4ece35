"""`mlirfuse explain`: what it tells, of what, and what overrides cost; of models and of artifacts."""

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_models import saved, small_model

from mlirfuse.artifact import Artifact
from mlirfuse.artifact.explanation import explanation_bytes
from mlirfuse.cli.main import main
from mlirfuse.explain import Explanation

TENSOR = 8 * 16 * 4  # bytes of every value of the small model


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return saved(tmp_path, small_model())


def told(capfd: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main(["explain", *argv, "--json", "-"]) == 0
    return json.loads(capfd.readouterr().out)


def complaint(capfd: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["explain", *argv]) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and err.startswith("mlirfuse: error: ")
    return err


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_a_group_has_its_numbers(capfd: pytest.CaptureFixture[str], model: str, target: str) -> None:
    whole = told(capfd, model, "--target", target)
    (group,) = whole["groups"]
    assert group["nodes"] == ["scale", "relu", "join"] and group["ops"] == ["binary.mul", "unary.relu", "binary.add"]
    assert group["bytes_not_stored"] == 2 * TENSOR and group["bytes_saved"] == 4 * TENSOR
    assert group["flops"] == 3 * TENSOR // 4 and group["flops_added"] == 0 and group["launches"] == 1
    assert group["schedule"]["kind"] == group["kernel"] and group["anchor"] is None and group["seconds"] > 0
    assert whole["totals"]["predicted_seconds"] == group["predicted_seconds"] > 0
    assert whole["schema"] == 1 and not whole["edges"] and len(whole["joined"]) == 2
    assert not any(edge["stored"] for edge in whole["joined"])


def test_explanation_and_report_predict_the_same_times(capfd: pytest.CaptureFixture[str]) -> None:
    whole = told(capfd, "zoo:lenet5", "--target", "cuda")
    assert main(["report", "zoo:lenet5", "--target", "cuda", "--json", "-"]) == 0
    report = json.loads(capfd.readouterr().out)
    predicted = [group["predicted_seconds"] for group in whole["groups"] if group["launches"]]
    assert min(predicted) > 0 and predicted == [launch["predicted_seconds"] for launch in report["kernels"]]
    assert whole["totals"]["predicted_seconds"] == pytest.approx(report["totals"]["predicted_seconds"])


def test_an_override_says_what_it_costs(capfd: pytest.CaptureFixture[str], model: str) -> None:
    whole = told(capfd, model, "--no-fuse", "relu")
    edges = {(*e["producer"], *e["consumer"]): e for e in whole["edges"]}
    assert edges["scale", "relu"]["kind"] == "option" and edges["scale", "relu"]["numbers"]["bytes"] == TENSOR
    (override,) = whole["overrides"]
    assert override["option"] == "--no-fuse relu" and override["with"] == whole["totals"]
    assert override["cost"]["launches"] == 2
    assert override["cost"]["bytes_moved"] == 5 * TENSOR, "two values are written and read, and x is read twice"
    assert override["cost"]["intermediate_bytes"] == 2 * TENSOR and override["cost"]["seconds"] > 0
    assert override["cost"]["predicted_seconds"] > 0
    assert main(["explain", model, "--no-fuse", "relu"]) == 0
    text = capfd.readouterr().out
    assert "what --no-fuse relu costs" in text and "+2" in text


def test_overrides_cost_each_and_together(capfd: pytest.CaptureFixture[str], model: str) -> None:
    whole = told(capfd, model, "--no-fuse", "scale", "--force-fuse", "relu,join")
    costs = {o["option"]: o["cost"]["launches"] for o in whole["overrides"]}
    assert costs == {"--no-fuse scale": 1, "--force-fuse relu,join": 0, "all of them": 1}


def test_the_report_tells_the_costs_too(capfd: pytest.CaptureFixture[str], model: str) -> None:
    assert main(["report", model, "--no-fuse", "relu", "--json", "-"]) == 0
    (override,) = json.loads(capfd.readouterr().out)["overrides"]
    assert override["cost"]["launches"] == 2
    assert main(["report", model, "--no-fuse", "relu"]) == 0
    assert "what --no-fuse relu costs" in capfd.readouterr().out


def test_one_node_one_edge_one_group(capfd: pytest.CaptureFixture[str], model: str) -> None:
    part = told(capfd, model, "--no-fuse", "relu", "--node", "relu")
    assert [g["nodes"] for g in part["groups"]] == [["relu"]] and len(part["edges"]) == 2
    part = told(capfd, model, "--no-fuse", "relu", "--edge", "relu,join")
    assert [e["reason"] for e in part["edges"]] == ["relu is to stay alone"] and len(part["groups"]) == 2
    part = told(capfd, model, "--edge", "relu,join")
    assert not part["edges"] and [e["group"] for e in part["joined"]] == [0]
    part = told(capfd, model, "--no-fuse", "relu", "--group", "0")
    assert [g["nodes"] for g in part["groups"]] == [["scale"]] and len(part["edges"]) == 1
    assert main(["explain", model, "--edge", "relu,join"]) == 0
    assert "not stored" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (["--node", "nothing"], "'nothing'"),
        (["--node", "RE"], "Names that hold it are relu"),
        (["--edge", "relu,nothing"], "'nothing'"),
        (["--edge", "relu"], "two names"),
        (["--edge", "join,relu"], "nobody but the caller"),
        (["--edge", "scale,join"], "is read by relu"),
        (["--group", "7"], "groups 0 to 0"),
    ],
)
def test_a_wrong_query_is_one_paragraph(
    capfd: pytest.CaptureFixture[str], model: str, query: list[str], says: str
) -> None:
    assert says in complaint(capfd, model, *query)


def test_an_artifact_tells_what_the_model_does(capfd: pytest.CaptureFixture[str], model: str, compiled: str) -> None:
    assert told(capfd, compiled) == told(capfd, model)
    assert told(capfd, compiled, "--edge", "scale,relu") == told(capfd, model, "--edge", "scale,relu")
    assert "has no effect" in complaint(capfd, compiled, "--no-fuse", "relu")


def test_an_artifact_without_an_explanation_says_so(
    capfd: pytest.CaptureFixture[str], compiled: str, tmp_path: Path
) -> None:
    artifact = Artifact.load(compiled)
    data = artifact.explained()
    assert data is not None
    replace(artifact, explanation=None).save(tmp_path / "silent.mlirfuse")
    assert "does not say why" in complaint(capfd, str(tmp_path / "silent.mlirfuse"))
    replace(artifact, explanation=explanation_bytes({**data, "schema": 99})).save(tmp_path / "later.mlirfuse")
    assert "schema 99" in complaint(capfd, str(tmp_path / "later.mlirfuse"))
    for damaged in (b"", b"no zlib", explanation_bytes(data)[:-9], zlib.compress(b"[1]"), zlib.compress(b"{")):
        replace(artifact, explanation=damaged).save(tmp_path / "damaged.mlirfuse")
        assert "'explanation'" in complaint(capfd, str(tmp_path / "damaged.mlirfuse"))


def test_json_goes_there_and_back(capfd: pytest.CaptureFixture[str], model: str) -> None:
    data = told(capfd, model, "--no-fuse", "relu")
    assert json.loads(json.dumps(Explanation.from_dict(data).to_dict())) == data
