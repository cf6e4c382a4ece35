"""Units, errors and files, without a network."""

import math
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from mlirfuse.cli.accuracy import LIMITS, compare, relative_error, row_errors
from mlirfuse.cli.arrays import pack_arrays, read_arrays
from mlirfuse.cli.display import amount, count, milliseconds, size
from mlirfuse.cli.race import geometric_mean
from mlirfuse.files import write_file


def test_units() -> None:
    assert [milliseconds(s) for s in (0.00412, 0.5, 12.3, None)] == ["4.12 ms", "500 ms", "12.3 s", ""]
    assert [size(n) for n in (0, 999, 1000, 1548800)] == ["0 B", "999 B", "1 kB", "1.55 MB"]
    assert amount(3.87e9, "FLOP") == "3.87 GFLOP"
    assert (count(1, "launch", "launches"), count(2, "launch", "launches")) == ("1 launch", "2 launches")


def test_error_is_relative_to_the_largest_element() -> None:
    wanted = np.array([1.0, -100.0], np.float32)
    assert relative_error(wanted + np.float32(0.5), wanted)[0] == pytest.approx(0.005)
    assert relative_error(np.zeros(2, np.float32), np.zeros(2, np.float32)) == (0.0, "")


def test_rows_are_compared_with_their_nearest_partner() -> None:
    boxes, scores = np.arange(12, dtype=np.float32).reshape(3, 4), np.array([0.9, 0.9, 0.1], np.float32)
    swapped = {"boxes": boxes[[1, 0, 2]], "scores": scores[[1, 0, 2]]}
    assert row_errors(swapped, {"boxes": boxes, "scores": scores}) == {"boxes": 0.0, "scores": 0.0}
    assert row_errors({"boxes": boxes[None, [1, 0, 2]]}, {"boxes": boxes[None]}) == {"boxes": 0.0}
    # a row that is there twice leaves another without a partner; a row of mixed partners is near neither
    assert row_errors({"boxes": boxes[[0, 0, 2]]}, {"boxes": boxes})["boxes"] == pytest.approx(4 / 11)
    mixed = row_errors({"boxes": boxes[[2, 1, 0]], "scores": scores}, {"boxes": boxes, "scores": scores})
    assert max(mixed.values()) > 0.5
    assert row_errors({"boxes": boxes[:2]}, {"boxes": boxes}) == {"boxes": math.inf}


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, "missing"),
        (np.zeros(3, np.float32), "shape"),
        (np.zeros(2, np.float64), "float64"),
        (np.array([1, math.nan], np.float32), "not finite"),
    ],
)
def test_incomparable(found: object, says: str) -> None:
    error, note = relative_error(found, np.ones(2, np.float32))
    assert error == math.inf and says in note


def test_same_not_a_number_is_no_error() -> None:
    array = np.array([math.nan, math.inf, 2], np.float32)
    assert relative_error(array, array.copy()) == (0.0, "")


def test_limit_follows_precision() -> None:
    found, wanted = {"y": np.array([1.005], np.float32)}, {"y": np.array([1.0], np.float32)}
    assert not compare(found, wanted, "fp32").ok
    assert compare(found, wanted, "tf32").ok


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "bf16"), ("float16", "fp16"), ("float64", "fp32")])
def test_outputs_are_as_exact_as_their_elements(dtype: str, precision: str) -> None:
    wanted = {"exact": np.ones(2, np.float32), "rounded": np.ones(2, ml_dtypes.bfloat16 if dtype[0] == "b" else dtype)}
    near = wanted | {"rounded": wanted["rounded"] * np.asarray(1 - 2**-8, wanted["rounded"].dtype)}
    compared = compare(near, wanted, "fp32")
    assert compared.precision == precision and compared.limit == LIMITS[precision]
    assert compared.ok == (precision != "fp32")
    far = compare(near | {"exact": wanted["exact"] * np.float32(1.001)}, wanted, "fp32")
    assert not far.ok and far.limit == LIMITS["fp32"]


def test_arrays_may_have_any_name(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "gpu_0/data": np.ones((2, 2), np.float32), "allow_pickle": np.array(True)}
    (tmp_path / "a.npz").write_bytes(pack_arrays(arrays))
    read = read_arrays(str(tmp_path / "a.npz"))
    assert all((read[name] == array).all() for name, array in arrays.items())


def test_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_file(path, b"old")

    def fails(*given: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_missing_folder_is_told_by_the_name_that_was_given(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="folder does not exist") as told:
        write_file(tmp_path / "none" / "a.html", b"new")
    assert told.value.filename == str(tmp_path / "none" / "a.html")


def test_pipe_is_written_to(tmp_path: Path) -> None:
    write_file("/dev/null", b"gone")
    assert not Path("/dev/null").is_file()


def test_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
