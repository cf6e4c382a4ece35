"""What the tests of CPU kernels share."""

import pytest
from cpu_cases import compile_cases


@pytest.fixture(scope="module")
def entries(request):
    """The functions of the module's CASES, compiled together."""
    return compile_cases(request.module.CASES)
