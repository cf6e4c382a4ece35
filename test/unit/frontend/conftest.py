"""Makes the modules beside the tests importable, and small models for them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def mlir_context():
    from mlirfuse.mlir import context

    with context() as ctx:
        yield ctx
