"""Every pass of this project runs alone on text in some lit test."""

import re
from pathlib import Path

import pytest

from mlirfuse.lowering.passes import load_passes

RUNS = [
    line
    for path in Path(__file__).parents[1].rglob("*.mlir")
    for line in path.read_text().splitlines()
    if line.lstrip("/ ").startswith("RUN:")
]


@pytest.mark.parametrize("name", sorted(n for n, c in load_passes().items() if c.__module__.startswith("mlirfuse.")))
def test_has_a_lit_test(name):
    used = re.compile(rf"(--|[(,=]){re.escape(name)}(?![\w-])")
    assert any(used.search(line) for line in RUNS), f"no RUN line under test/ uses {name}"
