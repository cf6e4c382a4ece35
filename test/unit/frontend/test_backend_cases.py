"""ONNX's operator tests through the importer and the reference interpreter; `slow` runs all, else a sample."""

import pytest
from backend_cases import node_cases, run_case, with_known_parameters
from expected_fallbacks import CONSEQUENCES, DIFFERENT, FALLBACK

from mlirfuse.errors import UnsupportedOp
from mlirfuse.mlir import context

STRIDE = 16  # one case in so many is in the sample
RUN_TIME = "known only at run time"


@pytest.mark.parametrize(
    "part", [pytest.param(0, id="sample"), *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, STRIDE))]
)
def test_cases_are_right_and_native_or_explained(part):
    problems, native, total = [], 0, 0
    with context():
        for case in node_cases()[part::STRIDE]:
            try:
                statuses, complaint = run_case(case, case.model)
                if len(case.data) == 1 and any(RUN_TIME in s.reason for s in statuses):
                    statuses, complaint = run_case(case, with_known_parameters(case))
            except UnsupportedOp as error:
                if "only" not in str(error) and "inputs of a compiled model are" not in str(error):
                    problems.append(f"{case.name}: {error}")
                continue
            except ImportError:
                statuses, complaint = [], "needs a package that is not installed"
            total += 1
            native += all(s.status == "native" for s in statuses)
            if complaint and not case.name.startswith(tuple(DIFFERENT)):
                problems.append(f"{case.name}: {complaint}")
            problems += [f"{case.name}: {s.op_type}: {s.reason}" for s in statuses if unexplained(s)]
    assert not problems, "\n".join(problems)
    assert native / total > 0.7, f"{native} of {total} cases are native"


def unexplained(status):
    if status.status == "native" or status.reason.startswith(CONSEQUENCES):
        return False
    return not status.reason.startswith(FALLBACK.get(status.op_type, "?"))
