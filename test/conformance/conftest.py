"""What the tests of random models share."""

import pytest


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """A cache of kernels: ways to compile a model share many of them."""
    return str(tmp_path_factory.mktemp("kernels"))
