"""Jobs in child processes: order, errors and crashes."""

import ctypes
import math
import os

import pytest

from mlirfuse.errors import CompilerCrash
from mlirfuse.lowering.codegen.workers import WorkerPool


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(2) as pool:
        yield pool


def test_results_come_in_the_order_of_the_jobs(pool):
    assert list(pool.run(math.sqrt, {"nine": 9.0, "four": 4.0, "one": 1.0}).items()) == [
        ("nine", 3.0),
        ("four", 2.0),
        ("one", 1.0),
    ]


def test_an_exception_keeps_its_type(pool):
    with pytest.raises(ValueError, match=r"math domain|nonnegative"):
        pool.run(math.sqrt, {"fine": 1.0, "bad": -1.0})


def test_a_crash_names_its_job_and_the_pool_goes_on(pool, tmp_path, monkeypatch):
    monkeypatch.setenv("MLIRFUSE_CRASH_DIR", str(tmp_path))
    with pytest.raises(CompilerCrash, match=r"compiled bad \(signal SIGSEGV") as raised:
        pool.run(ctypes.string_at, {"bad": 0})
    assert "saved to " + str(tmp_path) in str(raised.value)
    assert pool.run(math.sqrt, {"nine": 9.0}) == {"nine": 3.0}


def test_a_worker_sees_the_callers_modules(pool):
    assert pool.run(os.path.basename, {"a": "x/y"}) == {"a": "y"}
