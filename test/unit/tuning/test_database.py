"""What is stored is there, whole; what is no database is refused."""

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from profiles import database, measured

from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.profile import ProfileDatabase


def test_what_is_stored_is_read(tmp_path):
    first, second = measured("a", 1e-6), measured("b", 2e-6)
    made = database(tmp_path / "p.db", first, second)
    assert set(made.measurements()) == {first, second}
    made.store(replaced := dataclasses.replace(first, seconds=3e-6))
    assert set(made.measurements()) == {replaced, second}


def test_a_profile_is_of_one_device_and_compiler(tmp_path):
    rows = [measured("a", 1e-6), measured("a", 2e-6, "other"), measured("a", 3e-6, compiler="v2"), measured("b", 4e-6)]
    made = database(tmp_path / "p.db", *rows)
    profile = made.profile("abacus", "v1")
    assert profile.seconds == {rows[0].key: 1e-6, rows[3].key: 4e-6}
    assert profile.digest == made.digest()
    assert made.profile("abacus", "v3").seconds == {}


def test_the_digest_is_of_what_decides(tmp_path):
    rows = [measured("a", 1e-6), measured("b", 2e-6)]
    one = database(tmp_path / "one.db", *rows)
    later = [dataclasses.replace(m, date="2027-01-01T00:00:00+00:00", runs=9) for m in reversed(rows)]
    assert database(tmp_path / "two.db", *later).digest() == one.digest()
    one.store(measured("a", 1.5e-6))
    assert database(tmp_path / "two.db").digest() != one.digest()


def test_merging_takes_what_is_missing_or_later(tmp_path):
    mine = database(tmp_path / "mine.db", measured("a", 1e-6), measured("b", 2e-6, date="2026-06-01T00:00:00+00:00"))
    theirs = database(
        tmp_path / "theirs.db",
        measured("a", 5e-6, date="2026-02-01T00:00:00+00:00"),
        measured("b", 6e-6),
        measured("c", 7e-6),
    )
    assert mine.merge(theirs) == 2
    assert sorted(m.seconds for m in mine.measurements()) == [2e-6, 5e-6, 7e-6]
    assert mine.merge(theirs) == 0
    assert ProfileDatabase(tmp_path / "new.db").merge(theirs) == 3


def damaged(path):
    database(path, *(measured(f"group {i}" * 50, 1e-6) for i in range(60)))
    data = bytearray(path.read_bytes())
    data[4096:12288] = bytes(8192)
    path.write_bytes(data)


def truncated(path):
    database(path, *(measured(f"group {i}" * 50, 1e-6) for i in range(60)))
    path.write_bytes(path.read_bytes()[:5000])


def of_another_program(path):
    connection = sqlite3.connect(path)
    connection.execute("create table measurements (key text)")
    connection.commit()
    connection.close()


def of_another_format(path):
    database(path)
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version = 99")
    connection.commit()
    connection.close()


def with_a_wrong_value(path):
    database(path, measured("a", 1e-6))
    connection = sqlite3.connect(path)
    connection.execute("pragma ignore_check_constraints = on")
    connection.execute("update measurements set seconds = -1.0")
    connection.commit()
    connection.close()


def with_a_wrong_structure(path):
    row = measured('{"ops": []}', 1e-6)
    database(path, row)
    path.write_bytes(path.read_bytes().replace(row.structure.encode(), row.structure[:-1].encode() + b"?"))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (damaged, "is damaged"),
        (truncated, "is damaged"),
        (of_another_program, "database of another program"),
        (of_another_format, "has format 99, this release reads 2"),
        (with_a_wrong_value, "is damaged"),
        (with_a_wrong_structure, "is damaged: the structure of .* has another key"),
        (lambda path: path.write_text("{}\n"), "no profile database, but some other file"),
        (lambda path: path.write_bytes(b""), "no profile database"),
        (lambda path: None, "does not exist; `mlirfuse tune MODEL --database FILE` makes one, .* with --profile"),
        (lambda path: path.mkdir(), "is a folder"),
    ],
)
def test_what_is_no_database_is_refused(tmp_path, make, complaint):
    make(tmp_path / "p.db")
    with pytest.raises(MlirfuseError, match=complaint) as raised:
        ProfileDatabase(tmp_path / "p.db").profile("abacus", "v1")
    assert "p.db" in str(raised.value)


@pytest.mark.parametrize("make", [of_another_program, lambda path: path.write_text("my notes, not to be lost\n")])
def test_a_foreign_file_is_not_written_to(tmp_path, make):
    make(tmp_path / "p.db")
    before = (tmp_path / "p.db").read_bytes()
    with pytest.raises(MlirfuseError):
        ProfileDatabase(tmp_path / "p.db").store(measured("a", 1e-6))
    assert (tmp_path / "p.db").read_bytes() == before


@pytest.mark.parametrize("seconds", [0.0, -1e-6, float("nan"), float("inf")])
def test_no_time_is_no_measurement(tmp_path, seconds):
    with pytest.raises(ValueError, match="seconds"):
        ProfileDatabase(tmp_path / "p.db").store(measured("a", seconds))


WRITE = """
import sys
from pathlib import Path
from profiles import measured
from mlirfuse.lowering.profile import ProfileDatabase
database = ProfileDatabase(Path(sys.argv[1]))
for i in range(int(sys.argv[3])):
    database.store(measured(f"{sys.argv[2]} {i}", 1e-6))
    print(i, flush=True)
"""


def writer(path, name, count):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    argv = [sys.executable, "-c", WRITE, str(path), name, str(count)]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)


def test_processes_write_and_read_at_the_same_time(tmp_path):
    path = tmp_path / "p.db"
    running = [writer(path, name, 30) for name in ("first", "second")]
    seen = 0
    while any(process.poll() is None for process in running):
        if path.exists() and path.stat().st_size:
            now = len(ProfileDatabase(path).measurements())
            assert now >= seen
            seen = now
    assert [process.wait() for process in running] == [0, 0]
    for process in running:
        process.stdout.close()
    assert len(ProfileDatabase(path).measurements()) == 60


def test_a_reader_undoes_what_a_killed_writer_left_half_done(tmp_path):
    """A copy of the file and its journal, taken in the middle of a transaction that has spilled to the disk."""
    kept = [measured(f"kept {i}" * 100, 1e-6) for i in range(20)]
    path = database(tmp_path / "p.db", *kept).path
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma cache_size = 1")
    connection.execute("begin immediate")
    connection.execute("update measurements set seconds = 1.0, tool = tool || structure || structure")
    for name in ("p.db", "p.db-journal"):
        (tmp_path / f"copy-{name}").write_bytes((tmp_path / name).read_bytes())
    connection.execute("rollback")
    connection.close()
    assert (tmp_path / "copy-p.db").read_bytes() != path.read_bytes()
    assert set(ProfileDatabase(tmp_path / "copy-p.db").measurements()) == set(kept)


@pytest.mark.parametrize("attempt", range(3))
def test_a_killed_writer_loses_nothing(tmp_path, attempt):
    process = writer(tmp_path / "p.db", "doomed", 10_000)
    with process.stdout:
        for _ in range(5 + 7 * attempt):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
    keys = {m.structure for m in ProfileDatabase(tmp_path / "p.db").measurements()}
    assert {f"doomed {i}" for i in range(last + 1)} <= keys
