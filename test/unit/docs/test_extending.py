"""docs/extending.md: its example, installed as an extension, does what the page says."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

MODULE = """
func.func @main(%x: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %0 = "fusion.unary"(%x) {kind = "neg"} : (tensor<4xf32>) -> tensor<4xf32>
  %1 = "fusion.unary"(%0) {kind = "neg"} : (tensor<4xf32>) -> tensor<4xf32>
  %2 = "fusion.unary"(%0) {kind = "abs"} : (tensor<4xf32>) -> tensor<4xf32>
  return %1, %2 : tensor<4xf32>, tensor<4xf32>
}
"""

IMPORT = """
import onnx
from onnx import TensorProto, helper
from mlirfuse.frontend import import_model, load_model
from mlirfuse.dialect import WeightStore
from mlirfuse.mlir import context
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [4])
graph = helper.make_graph([helper.make_node("Twice", ["x"], ["y"], domain="com.acme")], "g", [value("x")], [value("y")])
opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
model = load_model(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
with context():
    print(import_model(model, WeightStore()))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose Python finds the page's two files as an installed package."""
    page = (ROOT / "docs" / "extending.md").read_text()
    project, code = (re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("toml", "python"))
    folder = tmp_path_factory.mktemp("site")
    (folder / "acme_fuse.py").write_text(code[0])
    metadata = tomllib.loads(project[0])["project"]
    info = folder / "acme_fuse-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {metadata['name']}\nVersion: {metadata['version']}\n")
    groups = metadata["entry-points"].items()
    text = "\n".join(f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in points.items()) for group, points in groups)
    (info / "entry_points.txt").write_text(text)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def run(installed: dict[str, str], *args: str, stdin: str = "") -> str:
    done = subprocess.run([sys.executable, *args], input=stdin, env=installed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pass_rewrites(installed: dict[str, str]) -> None:
    text = run(installed, "-m", "mlirfuse.cli.opt", "--acme-drop-double-negation", "--canonicalize", stdin=MODULE)
    assert text.count('kind = "neg"') == 1  # the one that abs reads
    assert re.search(r"return %arg0, %\w+ :", text)


def test_pass_is_listed(installed: dict[str, str]) -> None:
    listing = run(installed, "-m", "mlirfuse.cli.opt", "--list-passes")
    assert "acme-drop-double-negation: Replace a negation of a negation by its operand." in listing


def test_operator_is_imported(installed: dict[str, str]) -> None:
    text = run(installed, "-c", IMPORT)
    assert "fusion.binary" in text and "fallback" not in text
