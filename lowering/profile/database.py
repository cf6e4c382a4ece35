"""The profile database: measured seconds of groups, and the schedules that a search found, in one SQLite file.

Every measurement is one transaction: an interrupted writer loses nothing that was said to be stored, several processes
may read while one writes, and a file that is damaged or of another kind is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import ClassVar, TypeVar

from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.profile.structure import structure_key

__all__ = ["FoundSchedule", "Measurement", "Profile", "ProfileDatabase", "Row"]

_APPLICATION_ID = 0x6D6C6670  # "mlfp", which `file` and every SQLite tool show
_FORMAT = 2
_MAGIC = b"SQLite format 3\0"
_BUSY_SECONDS = 30.0
_SQL = {  # by the type of a field, whose name goes in
    "str": "text not null",
    "float": "real not null check ({0} > 0)",
    "int": "integer not null check ({0} > 0)",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of one group.

    key        of the group's structure (`structure_key`); `structure` is its text.
    device     what it ran on (`device_identity`); `compiler` what made its kernel (`compiler_version`).
    seconds    the median of its runs.
    date       when it was measured, in UTC, as ISO 8601; `tool` is the release that measured.
    """

    table: ClassVar[str]

    key: str
    device: str
    compiler: str
    seconds: float
    date: str
    tool: str
    structure: str


@dataclass(frozen=True, kw_only=True)
class Measurement(Row):
    """How long one group takes: over `runs`, with the 10th and 90th percentile."""

    table: ClassVar[str] = "measurements"

    p10: float
    p90: float
    runs: int


@dataclass(frozen=True, kw_only=True)
class FoundSchedule(Row):
    """The fastest of `trials` schedules (JSON) of a group; the one that is chosen without it took `chosen_seconds`."""

    table: ClassVar[str] = "schedules"

    schedule: str
    chosen_seconds: float
    trials: int


R = TypeVar("R", bound=Row)
_KINDS: tuple[type[Row], ...] = (Measurement, FoundSchedule)


@dataclass(frozen=True)
class Profile:
    """What a database knows of one device and compiler, read at one moment, by the key of a structure.

    `seconds` are those of blocks before planning, `schedules` (JSON) those of groups in their memory order. `digest`
    names the content of the whole database at that moment.
    """

    device: str
    compiler: str
    seconds: Mapping[str, float]
    digest: str
    schedules: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ProfileDatabase:
    """A database by its path; the file need not exist until something is stored. Every method opens it anew.

    A method raises MlirfuseError if there is a file that is no profile database, is damaged, or cannot be read.
    """

    path: Path

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def profile(self, device: str, compiler: str) -> Profile:
        """Everything measured on `device` with `compiler`; the database must exist."""
        measurements, schedules = self._rows()
        seconds = {m.key: m.seconds for m in measurements if (m.device, m.compiler) == (device, compiler)}
        found = {s.key: s.schedule for s in schedules if (s.device, s.compiler) == (device, compiler)}
        return Profile(device, compiler, seconds, _digest(measurements, schedules), found)

    def measurements(self) -> tuple[Measurement, ...]:
        """Every measurement, by key, device and compiler; the database must exist."""
        return self._rows()[0]

    def schedules(self) -> tuple[FoundSchedule, ...]:
        """Every schedule that was found, by key, device and compiler; the database must exist."""
        return self._rows()[1]

    def digest(self) -> str:
        """A hash of what compiling could read; equal for equal measurements, whenever they were made."""
        return _digest(*self._rows())

    def store(self, *rows: Row) -> None:
        """Add measurements and schedules, replacing those of the same group, device and compiler: all or none."""
        for row in rows:
            if complaint := _complaint(row):
                raise ValueError(complaint)
        with self._writing() as connection:
            for row in rows:
                marks = ", ".join("?" for _ in fields(row))
                connection.execute(
                    f"insert or replace into {row.table} ({_columns(type(row))}) values ({marks})", astuple(row)
                )

    def merge(self, other: ProfileDatabase) -> int:
        """Take what `other` has and this lacks, and what `other` measured later; how many rows came."""
        mine = [row for rows in self._rows() for row in rows] if self.path.exists() else []
        known = {_identity(row): (row.date, row.seconds) for row in mine}
        theirs = [row for rows in other._rows() for row in rows]
        coming = [row for row in theirs if known.get(_identity(row), ("", 0.0)) < (row.date, row.seconds)]
        self.store(*coming)
        return len(coming)

    def _rows(self) -> tuple[tuple[Measurement, ...], tuple[FoundSchedule, ...]]:
        """All of both tables as of one moment."""
        with self._reading() as connection:
            connection.execute("begin")
            measurements, schedules = _select(connection, Measurement), _select(connection, FoundSchedule)
        for row in (*measurements, *schedules):
            if complaint := _complaint(row):
                raise MlirfuseError(f"The profile database {self.path} is damaged: {complaint}. {_ANOTHER}")
        return measurements, schedules

    # --- the file ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self.path.is_file():
            what = "is a folder" if self.path.is_dir() else "does not exist"
            raise MlirfuseError(
                f"The profile database {self.path} {what}; `mlirfuse tune MODEL --database FILE` makes one, of "
                "schedules, and with --profile of what fusion leaves open."
            )
        self._check_magic()
        # What a killed writer left half done is undone by the next reader, if it may write.
        writable = os.access(self.path, os.W_OK) and os.access(self.path.absolute().parent, os.W_OK)
        with self._open("rw" if writable else "ro") as connection:
            self._check(connection)
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        empty = not self.path.exists() or (self.path.is_file() and self.path.stat().st_size == 0)
        if not empty:
            self._check_magic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open("rwc") as connection:
            connection.execute("begin immediate")  # of two processes that make the file, one waits for the other
            if connection.execute("select count(*) from sqlite_master").fetchone()[0] == 0 and empty:
                for kind in _KINDS:
                    connection.execute(_schema(kind))
                connection.execute(f"pragma application_id = {_APPLICATION_ID}")
                connection.execute(f"pragma user_version = {_FORMAT}")
            self._check(connection)
            yield connection
            connection.execute("commit")

    @contextlib.contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        """A connection in which nothing is committed but by command; what SQLite refuses is explained."""
        connection = None
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}", timeout=_BUSY_SECONDS, uri=True, isolation_level=None
            )
            yield connection
        except sqlite3.OperationalError as error:
            raise MlirfuseError(f"The profile database {self.path} cannot be used: {error}.") from None
        except sqlite3.DatabaseError as error:
            raise MlirfuseError(f"The profile database {self.path} is damaged: {error}. {_ANOTHER}") from None
        finally:
            if connection is not None:
                connection.close()

    def _check_magic(self) -> None:
        with self.path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise MlirfuseError(f"{self.path} is no profile database, but some other file. {_ANOTHER}")

    def _check(self, connection: sqlite3.Connection) -> None:
        if connection.execute("pragma application_id").fetchone()[0] != _APPLICATION_ID:
            raise MlirfuseError(f"{self.path} is a database of another program, not a profile of mlirfuse. {_ANOTHER}")
        found = connection.execute("pragma user_version").fetchone()[0]
        if found != _FORMAT:
            raise MlirfuseError(
                f"The profile database {self.path} has format {found}, this release reads {_FORMAT}. {_ANOTHER}"
            )
        if (said := connection.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
            raise MlirfuseError(f"The profile database {self.path} is damaged: {said}. {_ANOTHER}")


_ANOTHER = "Name another file, or delete this one and measure again."


def _schema(kind: type[Row]) -> str:
    """The table of one kind of row: a column for each field."""
    columns = ",\n    ".join(f"{f.name} {_SQL[str(f.type)].format(f.name)}" for f in fields(kind))
    return f"create table {kind.table} (\n    {columns},\n    primary key (key, device, compiler)\n) without rowid"


def _columns(kind: type[Row]) -> str:
    return ", ".join(f.name for f in fields(kind))


def _select(connection: sqlite3.Connection, kind: type[R]) -> tuple[R, ...]:
    names = [f.name for f in fields(kind)]
    found = connection.execute(f"select {_columns(kind)} from {kind.table} order by key, device, compiler")
    return tuple(kind(**dict(zip(names, values, strict=True))) for values in found.fetchall())


def _identity(row: Row) -> tuple[str, str, str, str]:
    return row.table, row.key, row.device, row.compiler


def _digest(measurements: tuple[Measurement, ...], schedules: tuple[FoundSchedule, ...]) -> str:
    """Of what decides: the date and the spread of a measurement do not."""
    read: list[object] = [(m.key, m.device, m.compiler, m.seconds) for m in measurements]
    read += [(s.key, s.device, s.compiler, s.schedule) for s in schedules]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()


def _complaint(row: Row) -> str | None:
    """Why a row is none, or None."""
    for f in fields(row):
        value = getattr(row, f.name)
        if f.type == "float" and (not isinstance(value, float) or not math.isfinite(value) or value <= 0):
            return f"the {f.name} of {row.key!r} is {value!r}"
        if f.type == "int" and (not isinstance(value, int) or value < 1):
            return f"the {f.name} of {row.key!r} are {value!r}"
        if f.type == "str" and not isinstance(value, str):
            return f"the {f.name} of {row.key!r} is no text"
    if structure_key(row.structure) != row.key:
        return f"the structure of {row.key!r} has another key"
    if isinstance(row, FoundSchedule) and row.schedule and not _is_json(row.schedule):
        return f"the schedule of {row.key!r} is no JSON"
    return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
