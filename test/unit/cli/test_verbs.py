"""What each verb prints and writes for a small network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_models import rounding_model, saved, small_model

from mlirfuse.cli.main import main

TOTALS = {
    *("nodes_imported", "ops", "groups", "launches", "kernels", "fallback_nodes", "copies", "flops", "global_bytes"),
    *("recomputed_flops", "predicted_seconds"),
    *("dram_bytes", "dram_weight_bytes", "dram_input_bytes", "dram_output_bytes", "dram_intermediate_bytes"),
    *("compulsory_bytes", "intermediate_bytes"),
    *("weight_bytes", "arena_bytes", "host_copies", "host_copy_bytes"),
}
KERNEL = {
    *("name", "ops", "mode", "mapping", "grid", "block", "shared_bytes", "registers", "spill_bytes", "flops"),
    *("global_bytes", "dram_read_bytes", "dram_write_bytes", "dram_intermediate_bytes", "recomputed_flops"),
    *("predicted_seconds", "blocks", "resident_blocks", "occupancy", "occupancy_limit", "waves"),
}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return saved(tmp_path, small_model())


def result(capfd: pytest.CaptureFixture[str], *argv: str) -> Any:
    """What `--json -` gives: standard output holds nothing else."""
    assert main([*argv, "--json", "-"]) == 0
    return json.loads(capfd.readouterr().out)


def test_run_checks_against_another_runtime(capfd: pytest.CaptureFixture[str], model: str) -> None:
    assert main(["run", model, "--check", "--strict", "--threads", "1", "--json", "run.json", "-o", "out.npz"]) == 0
    out = capfd.readouterr().out
    assert "1x8x4x4" in out and "within the limit of 0.0001 for fp32" in out
    data = json.loads(Path("run.json").read_text())
    assert data["check"]["ok"] and data["check"]["error"] <= data["check"]["limit"] == 1e-4
    assert data["threads"] == 1 and data["fallbacks"] == []
    assert np.load("out.npz")["y"].shape == (1, 8, 4, 4)


def test_run_takes_inputs(capfd: pytest.CaptureFixture[str], compiled: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 8, 4, 4), np.float32))
    data = result(capfd, "run", compiled, "--input", f"x={tmp_path / 'x.npy'}", "--runs", "3")
    assert data["outputs"] == [{"name": "y", "dtype": "float32", "shape": [1, 8, 4, 4], "min": 2, "max": 4, "mean": 3}]
    assert data["seconds"]["runs"] == 3


def test_run_seeds_inputs(capfd: pytest.CaptureFixture[str], compiled: str) -> None:
    first, again, other = (result(capfd, "run", compiled, "--seed", seed)["outputs"] for seed in ("1", "1", "2"))
    assert first == again != other


def test_artifact_is_checked_against_its_model(capfd: pytest.CaptureFixture[str], compiled: str, model: str) -> None:
    assert result(capfd, "run", compiled, "--check", "--reference", model)["check"]["ok"]


def test_wrong_output_is_status_1(
    capfd: pytest.CaptureFixture[str], model: str, compiled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlirfuse.cli.oracle import Expected

    wrong = Expected("nobody", {"y": np.full((1, 8, 4, 4), 1.0, np.float32)})
    monkeypatch.setattr("mlirfuse.cli.oracle.expected_outputs", lambda *given: wrong)
    assert main(["run", compiled, "--check", "--reference", model]) == 1
    assert "BEYOND the limit" in capfd.readouterr().out


def test_reference_evaluator_stands_in(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlirfuse.cli import oracle

    find = oracle.importlib.util.find_spec
    hidden = lambda name: None if name == "onnxruntime" else find(name)  # noqa: E731
    monkeypatch.setattr(oracle.importlib.util, "find_spec", hidden)
    expected = oracle.expected_outputs(model, {}, {"x": np.ones((1, 8, 4, 4), np.float32)})
    assert "reference evaluator" in expected.by and "not installed" in expected.note
    assert expected.outputs["y"].min() == 2


def test_oracle_takes_other_shapes(model: str) -> None:
    from mlirfuse.cli.oracle import expected_outputs

    shape = (2, 8, 6, 6)
    assert expected_outputs(model, {"x": shape}, {"x": np.ones(shape, np.float32)}).outputs["y"].shape == shape


def test_report_has_the_documented_fields(capfd: pytest.CaptureFixture[str], compiled: str, model: str) -> None:
    data = result(capfd, "report", compiled)
    assert set(data["totals"]) >= TOTALS
    (kernel,) = data["kernels"]
    assert set(kernel) >= KERNEL
    assert set(data) >= {"model", "target", "precision"}
    assert "import" in result(capfd, "report", model)["compile_seconds"]


def test_report_is_readable(capfd: pytest.CaptureFixture[str], compiled: str) -> None:
    assert main(["report", compiled]) == 0
    out = capfd.readouterr().out
    assert "scale+relu+join" in out and "launches" in out


def test_check_lists_what_falls_back(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from onnx import helper

    model = small_model()
    model.graph.node.append(helper.make_node("NonZero", ["x"], ["i"], name="where"))
    model.graph.output.append(helper.make_tensor_value_info("i", 7, [4, None]))
    path = saved(tmp_path, model)
    data = result(capfd, "check", path)
    assert data["counts"] == {"native": 3, "fallback": 1, "invalid": 0}
    assert main(["check", path, "--strict"]) == 1
    out = capfd.readouterr().out
    assert "where" in out and "relu" not in out
    assert main(["check", path, "--all"]) == 0
    assert "relu" in capfd.readouterr().out


def test_emit_writes_text_and_weights(capfd: pytest.CaptureFixture[str], model: str) -> None:
    from safetensors.numpy import load_file

    assert main(["compile", model, "--emit", "graph", "-o", "g.mlir"]) == 0
    text = Path("g.mlir").read_text()
    assert 'fusion.stage = "graph"' in text and 'loc("relu")' in text
    (key,) = load_file("g.safetensors")
    assert key in text
    capfd.readouterr()
    assert main(["compile", model, "--emit", "graph"]) == 0
    assert capfd.readouterr().out.strip() == text.strip()
    assert sorted(p.name for p in Path().iterdir()) == ["g.mlir", "g.safetensors", "small.onnx"]


def test_bench_alone(capfd: pytest.CaptureFixture[str], compiled: str) -> None:
    data = result(capfd, "bench", compiled, "--runs", "5", "--threads", "1")
    assert data["seconds"]["runs"] == 5 and data["throughput"] == pytest.approx(1 / data["seconds"]["median"])
    assert main(["bench", compiled, "--runs", "5", "--kernels"]) == 0
    assert "share" in capfd.readouterr().out


def test_bench_races_and_skips(capfd: pytest.CaptureFixture[str], model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    argv = ["bench", model, "--against", "onnxruntime,torch-compile", "--rounds", "1", "--threads", "1"]
    monkeypatch.setattr("mlirfuse.cli.peers.missing", lambda name: None if name == "onnxruntime" else "it is hidden")
    data = result(capfd, *argv)
    assert data["skipped"] == {"torch-compile": "it is hidden"}
    assert [s["peer"] for s in data["standings"]] == ["mlirfuse", "onnxruntime"]
    assert data["ratios"]["onnxruntime"] > 0


@pytest.mark.parametrize("target", ["cpu", "simulator"])
def test_diff_finds_no_difference(capfd: pytest.CaptureFixture[str], model: str, target: str) -> None:
    data = result(capfd, "diff", model, "--target", target, "--fusion", "none")
    assert [g["node"] for g in data["groups"]] == ["scale", "relu", "join"] and data["wrong"] == 0


def test_diff_names_the_first_wrong_group(
    capfd: pytest.CaptureFixture[str], model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlirfuse.cli import group_errors

    def wrong_relu(op: Any, operands: list[Any], store: Any) -> list[Any]:
        results = run_op(op, operands, store)
        return [r + 1 for r in results] if "relu" in str(op) else results

    run_op = group_errors.run_op
    monkeypatch.setattr(group_errors, "run_op", wrong_relu)
    assert main(["diff", model, "--fusion", "none"]) == 1
    assert "the first is group 1 (relu), in the result of relu" in capfd.readouterr().out


def test_values_that_a_kernel_need_not_round_are_compared_by_their_type(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """y is computed in bfloat16 by its definition, and in single precision by the kernel; z is not rounded at all."""
    monkeypatch.chdir(tmp_path)
    model = saved(tmp_path, rounding_model())
    data = result(capfd, "run", model, "--check")["check"]
    assert 1e-4 < data["errors"]["y"] <= data["limit"] == 5e-2 and data["errors"]["z"] <= 1e-4
    groups = {g["node"]: g for g in result(capfd, "diff", model, "--target", "simulator")["groups"]}
    assert 1e-4 < groups["up"]["error"] <= groups["up"]["limit"] == 5e-2 and groups["clip"]["limit"] == 1e-4
    assert main(["diff", model, "--tolerance", "1e-4"]) == 1
    assert "in the result of up" in capfd.readouterr().out


def test_zoo_lists_and_writes(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "light/squeezenet" in result(capfd, "zoo")["networks"]
    path = tmp_path / "lenet.onnx"
    assert main(["zoo", "lenet5", "-o", str(path)]) == 0
    assert path.stat().st_size > 1000


def test_report_of_several_models_goes_on(
    capfd: pytest.CaptureFixture[str], compiled: str, model: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    argv = ["report", compiled, str(tmp_path / "broken.onnx"), "nowhere.onnx", compiled]
    assert main([*argv, "--json", "all.json"]) == 1
    out, err = capfd.readouterr()
    assert err.count("\n") == 2 and all(line.startswith("mlirfuse: error: ") for line in err.splitlines())
    assert "2 of 4 models failed" in out and out.count(compiled) == 2
    data = json.loads(Path("all.json").read_text())
    assert data["failed"] == 2 and [row["error"] is None for row in data["reports"]] == [True, False, False, True]
    assert data["reports"][3]["report"]["totals"]["launches"] == 1
    assert main(["report", compiled, compiled]) == 0
