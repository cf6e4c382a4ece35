"""README and the guides say what is there: their examples run, their tables list what the command line has."""

import re
from pathlib import Path

import numpy as np
import pytest
from cli_models import saved, small_model

from mlirfuse.cli import arguments
from mlirfuse.cli.main import VERBS

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "command-line.md").read_text()


def test_readme_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, small_model(), "resnet50.onnx")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    outputs, again = names["outputs"], names["again"]
    np.testing.assert_array_equal(outputs["y"], again.run(names["x"])["y"])  # type: ignore[index, attr-defined]


def test_guide_lists_every_verb() -> None:
    table = GUIDE.split("## How to compile")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(VERBS)


def test_guide_lists_every_compile_option() -> None:
    table = GUIDE.split("## How to compile")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `(--[\w-]+)", table, re.MULTILINE))
    assert listed == {"--target", *arguments._FIELDS}


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
