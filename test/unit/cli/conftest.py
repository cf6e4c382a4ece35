"""One small network, compiled once for the tests of the command line."""

import sys
from pathlib import Path

import pytest

from mlirfuse.cli.main import main

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside the tests, whichever way pytest imports these

from cli_models import saved, small_model


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the small model's artifact for this machine's CPU."""
    folder = tmp_path_factory.mktemp("compiled")
    path = str(folder / "small.mlirfuse")
    assert main(["compile", saved(folder, small_model()), "-o", path, "--json", str(folder / "compile.json")]) == 0
    return path
