"""Result files, tables and README's block, on made-up figures; and the GPU benchmark rehearsed on the simulator."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import correctness
import cpu
import gpu
import gpu_prepare
import gpu_race
import gpu_tasks
import launches
import memory
import numpy as np
import pytest
from measured import LIGHT_NETWORKS, README, Measured, write_block

from mlirfuse.artifact.recipes import replay
from mlirfuse.cli.torch_network import Graph, describe
from mlirfuse.zoo import build

HERE = {"cpu": "Abacus 3000", "cores": 2, "vector_bits": 64}


def entry(network: str, threads: int, own: float, other: float) -> dict[str, Any]:
    standings = {"mlirfuse": {"median": own, "version": "0"}, "onnxruntime": {"median": other, "version": "1"}}
    return {"network": network, "threads": threads, "launches": 9, "rounds": 3, "error": 1e-6, "standings": standings}


def test_results_are_merged_and_kept_by_machine(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.json"
    Measured(path, HERE).put("b", {"code": 1})
    Measured(path, HERE).put("a", {"code": 2})
    again = Measured(path, HERE)
    assert list(again.entries) == ["a", "b"] and again.entries["a"]["date"]
    assert again.is_current("a", code=2) and not again.is_current("a", code=3) and not again.is_current("c")
    assert Measured(path, {**HERE, "cores": 4}).entries == {}


def test_table_has_ratios_and_their_geometric_mean() -> None:
    text = cpu.table({"a": entry("alexnet", 1, 0.002, 0.001), "v": entry("vgg19", 1, 0.002, 0.004)})
    assert "| alexnet | 9 | 2 | 1 | 2.00 | 1e-06 |" in text
    assert "| geometric mean |  |  |  | 1.00 |  |" in text


def test_readme_block_is_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, path = tmp_path / "README.md", tmp_path / "cpu.json"
    begin, end = "<!-- written by benchmarks/cpu.py --readme: begin -->", "<!-- end -->"
    readme.write_text(f"before\n{begin}\nold\n{end}\nafter {end}\n")
    monkeypatch.setattr(cpu, "README", readme)
    monkeypatch.setattr(cpu, "machine", lambda: HERE)
    assert cpu.main(["--readme", "--results", str(path)]) == 1  # nothing was measured, nothing is written
    assert "old" in readme.read_text()
    counted = tmp_path / "launches.json"
    Measured(path, HERE).put("a", entry("alexnet", 1, 0.002, 0.001))
    assert cpu.main(["--readme", "--results", str(path), "--launches", str(counted)]) == 0
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith(f"after {end}\n") and "old" not in text
    assert "Abacus 3000" in text and "| alexnet |" in text


def test_readme_shows_no_times_of_other_launches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, path, counted = (tmp_path / name for name in ("README.md", "cpu.json", "launches.json"))
    readme.write_text("<!-- written by benchmarks/cpu.py --readme: begin -->\nold\n<!-- end -->\n")
    monkeypatch.setattr(cpu, "README", readme)
    monkeypatch.setattr(cpu, "machine", lambda: HERE)
    argv = ["--readme", "--results", str(path), "--launches", str(counted)]
    Measured(path, HERE).put("a", entry("alexnet", 1, 0.002, 0.001))
    Measured(counted, {}).put("alexnet cpu", {"network": "alexnet", "target": "cpu", "launches": 7})
    assert cpu.main(argv) == 1  # every row is stale
    assert "old" in readme.read_text() and "alexnet (9 launches, now 7)" in capsys.readouterr().err
    Measured(path, HERE).put("v", entry("vgg19", 1, 0.002, 0.004))
    Measured(counted, {}).put("vgg19 cpu", {"network": "vgg19", "target": "cpu", "launches": 9})
    assert cpu.main(argv) == 0
    text = readme.read_text()
    assert "| vgg19 |" in text and "| alexnet |" not in text and "Left out until measured again: alexnet (9" in text
    assert "| geometric mean |  |  |  | 0.50 |" in text


@pytest.mark.parametrize("script", ["cpu.py", "launches.py", "memory.py"])
def test_readme_has_the_blocks(script: str, tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    copy.write_text(README.read_text())
    write_block(copy, script, "a table")
    assert f"{script} --readme: begin -->\na table\n<!-- end -->" in copy.read_text()


def test_launches_beside_those_of_others() -> None:
    others = json.loads(launches.OTHERS.read_text())["networks"]
    text = launches.table({"vgg19 cpu": {"network": "vgg19", "target": "cpu", "nodes": 46, "launches": 25}}, others)
    assert "| vgg19 | 46 | 25 | 26 | 42 | 27 |" in text


def test_launches_are_counted_in_text() -> None:
    text = 'gpu.launch_func @kernels::@a blocks\nscf.forall (%t) in (4) {\n"fusion.host_call"(%x)\ngpu.module @kernels'
    assert len(launches.STEP.findall(text)) == 3


def test_every_network_has_counts_of_others() -> None:
    others = json.loads(launches.OTHERS.read_text())["networks"]
    assert sorted(others) == sorted(LIGHT_NETWORKS)
    for counts in others.values():
        totals = (counts["onnxruntime"], sum(counts["iree"].values()), sum(counts["inductor"].values()))
        assert counts["best"] == min(totals)


def test_seeded_filters_sum_to_zero_and_keep_their_deviation() -> None:
    filters = np.random.default_rng(1).standard_normal((64, 8, 3, 3), np.float32) * 3 + 1
    recipes = gpu_prepare._recipes("w", filters)

    def lookup(key: str) -> Any:
        return replay(recipes[key], lookup, key)

    made = lookup("w")
    assert np.abs(made.sum(axis=(1, 2, 3))).max() < 1e-4
    assert made.std() == pytest.approx(filters.std(), rel=0.05)
    assert set(gpu_prepare._recipes("b", filters[:, 0, 0, 0])) == {"b"}


def test_torch_graph_travels_as_json() -> None:
    graph, weights = describe(build("light/squeezenet"))
    assert Graph.from_dict(json.loads(json.dumps(graph.to_dict()))) == graph
    assert graph.inputs == ("data_0",) and len(graph.steps) == 66 and "conv1_w_0" in weights


def test_measuring_on_a_gpu_machine_needs_no_onnx() -> None:
    code = "import sys; sys.modules |= {'onnx': None, 'torch_mlir': None}; sys.path.insert(0, sys.argv[1]); import gpu"
    subprocess.run([sys.executable, "-c", code, str(Path(gpu.__file__).parent)], check=True)


def test_what_failed_or_was_skipped_is_tried_again(tmp_path: Path) -> None:
    results = Measured(tmp_path / "r.json", HERE)
    for name, entry in (("a", {"failed": "no"}), ("b", {"skipped": "no tool"}), ("c", {"error": 0.0})):
        results.put(name, {"digest": 1, **entry})
    assert [results.is_current(name, digest=1) for name in "abc"] == [False, False, True]


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `prepare` leaves for a small network, for the simulator in place of a GPU."""
    folder = tmp_path_factory.mktemp("gpu")
    assert gpu.main(["prepare", "--networks", "lenet5", "--target", "simulator", "--folder", str(folder)]) == 0
    return folder


def test_gpu_rehearsal_is_no_measurement(rehearsal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["run", "--folder", str(rehearsal), "--results", str(tmp_path / "gpu.json"), "--tasks", "mlirfuse,ncu"]
    assert gpu.main(argv) == 0
    data = json.loads((tmp_path / "gpu.json").read_text())
    assert "rehearsal" in data["machine"]["device"]
    done = data["entries"]["lenet5 mlirfuse"]
    assert done["error"] <= 1e-4 and len(done["kernels"]) > 1
    assert "skipped" in data["entries"]["lenet5 ncu"]
    capsys.readouterr()
    assert gpu.main(argv) == 0
    again = capsys.readouterr().out  # nothing is done twice but what was not done
    assert "lenet5 ncu: skipped" in again and "lenet5 mlirfuse" not in again


def test_groups_race_against_their_parts(rehearsal: Path, tmp_path: Path) -> None:
    entry = gpu._in_process("race", "lenet5", rehearsal, 100)
    assert entry["speedup"] == entry["apart"]["median"] / entry["joined"]["median"]
    assert entry["groups"]
    assert all(p["launches"][0] < p["launches"][1] and p["nodes"] for p in entry["groups"])


def test_slower_groups_are_named() -> None:
    joined = [(frozenset("ab"), 5e-6), (frozenset("c"), 1e-6), (frozenset("de"), 9e-6)]
    apart = [(frozenset("a"), 3e-6), (frozenset("b"), 3e-6), (frozenset("c"), 2e-6), (frozenset("d"), 4e-6)]
    apart.append((frozenset("e"), 4e-6))
    pairs = gpu_race.paired(joined, apart)
    assert [(p["nodes"], p["launches"]) for p in pairs] == [(["a", "b"], [1, 2]), (["d", "e"], [1, 2])]
    assert gpu_race.slower_than_parts(pairs) == ["d+e: 9.0 us, its parts 8.0 us"]


def test_gpu_shard_ends_in_time(rehearsal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["run", "--folder", str(rehearsal), "--results", str(tmp_path / "gpu.json"), "--minutes", "0"]
    assert gpu.main(argv) == 0
    assert f"{len(gpu.DEFAULT_TASKS)} left for the next shard" in capsys.readouterr().out


def test_wrong_outputs_give_no_times(rehearsal: Path, tmp_path: Path) -> None:
    from mlirfuse.cli.arrays import pack_arrays, read_arrays

    for path in rehearsal.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    expected = tmp_path / gpu_tasks.file_names("lenet5")[1]
    expected.write_bytes(pack_arrays({name: array + 1 for name, array in read_arrays(str(expected)).items()}))
    entry = gpu._in_process("mlirfuse", "lenet5", tmp_path, 100)
    assert "beyond the limit" in entry["failed"]


def test_ncu_rows_are_read() -> None:
    units, first = {"Kernel Name": "", "a.sum": "byte"}, {"Kernel Name": "k0", "a.sum": "1,024"}
    assert gpu_tasks._ncu_row(first, ["a.sum"]) == {"kernel": "k0", "a.sum": 1024.0}
    table = ['"Kernel Name","a.sum"', f'"{units["Kernel Name"]}","{units["a.sum"]}"', '"k0","1,024"']
    assert gpu_tasks._units(table, ["a.sum"]) == ["byte"]


def test_networks_are_checked_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--networks", "lenet5", "--results", str(tmp_path / "correctness.json")]
    assert correctness.main(argv) == 0
    entry = json.loads((tmp_path / "correctness.json").read_text())["entries"]["lenet5"]
    assert entry["passed"] and 0 < entry["error"] < 1e-5 and entry["fallback_nodes"] == 0
    capsys.readouterr()
    assert correctness.main(argv) == 0
    assert "lenet5" not in capsys.readouterr().out


def test_networks_that_fail_are_told_and_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "correctness.json"
    entry = {"passed": False, "failed": "no such luck"}
    monkeypatch.setattr(correctness, "_in_process", lambda network, timeout: entry)
    assert correctness.main(["--networks", "lenet5", "--results", str(results)]) == 1
    monkeypatch.setattr(correctness, "_in_process", lambda network, timeout: {**entry, "passed": True})
    assert correctness.main(["--networks", "lenet5", "--results", str(results), "--unpassed"]) == 0


def test_only_what_follows_the_suppression_may_run_on_the_host() -> None:
    model = build("mobilenetv1-ssd-nms")
    allowed = correctness.may_fall_back(model)
    tail = [node.name for node in model.graph.node if node.name in allowed]
    assert [node.op_type for node in model.graph.node if node.name == tail[0]] == ["NonMaxSuppression"]
    assert tail == [node.name for node in model.graph.node][-len(tail) :] and len(tail) < 12


def test_inputs_are_valid_for_tables_and_masks() -> None:
    made = correctness.inputs_of(build("tinybert-s128"))
    assert made["input_ids"].max() > 1000 and made["input_ids"].min() >= 0
    assert set(made["attention_mask"].ravel()) == {0, 1} and made["attention_mask"][0, 0] == 1


def test_memory_is_measured_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--networks", "lenet5", "--rounds", "1", "--results", str(tmp_path / "memory.json")]
    memory.main(argv)
    entry = json.loads((tmp_path / "memory.json").read_text())["entries"]["lenet5"]
    own = entry["measured"]["mlirfuse"]
    assert own["compiler_imported"] == [] and 0 < own["taken_bytes"] < own["peak_bytes"]
    # 61706 parameters and the two numbers of a Reshape; the largest pair of neighbours is 6x28x28 and 6x28x28
    assert entry["counted"]["onnx"]["weights"] == 4 * 61706 + 16
    assert entry["counted"]["onnx"]["values"] == 2 * 4 * 6 * 28 * 28
    assert 4 * 61706 <= entry["counted"]["mlirfuse"]["weights"] < 8 * 61706
    assert "| lenet5 |" in capsys.readouterr().out
