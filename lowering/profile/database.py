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
from typing import Any

from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.profile.structure import structure_key

__all__ = ["FoundSchedule", "Measurement", "Profile", "ProfileDatabase"]

_APPLICATION_ID = 0x6D6C6670  # "mlfp", which `file` and every SQLite tool show
_FORMAT = 2
_MAGIC = b"SQLite format 3\0"
_BUSY_SECONDS = 30.0
_SCHEMA = """
create table if not exists schedules (
    key text not null,
    device text not null,
    compiler text not null,
    schedule text not null,
    seconds real not null check (seconds > 0),
    chosen_seconds real not null check (chosen_seconds > 0),
    trials integer not null check (trials > 0),
    date text not null,
    tool text not null,
    structure text not null,
    primary key (key, device, compiler)
) without rowid;
create table if not exists measurements (
    key text not null,
    device text not null,
    compiler text not null,
    seconds real not null check (seconds > 0),
    p10 real not null check (p10 > 0),
    p90 real not null check (p90 > 0),
    runs integer not null check (runs > 0),
    date text not null,
    tool text not null,
    structure text not null,
    primary key (key, device, compiler)
) without rowid;
"""


@dataclass(frozen=True)
class Measurement:
    """How long one group takes.

    key        of the group's structure (`structure_key`); `structure` is its text.
    device     what it ran on (`device_identity`); `compiler` what made its kernel (`compiler_version`).
    seconds    the median of `runs`; `p10` and `p90` the 10th and 90th percentile.
    date       when, in UTC, as ISO 8601; `tool` is the release that measured.
    """

    key: str
    device: str
    compiler: str
    seconds: float
    p10: float
    p90: float
    runs: int
    date: str
    tool: str
    structure: str


@dataclass(frozen=True)
class FoundSchedule:
    """The fastest of `trials` schedules (JSON) of a group; the one that is chosen without it took `chosen_seconds`."""

    key: str
    device: str
    compiler: str
    schedule: str
    seconds: float
    chosen_seconds: float
    trials: int
    date: str
    tool: str
    structure: str


Row = Measurement | FoundSchedule
_TABLES: Mapping[type[Row], str] = {Measurement: "measurements", FoundSchedule: "schedules"}


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
                table = f"{_TABLES[type(row)]} ({_columns(type(row))})"
                connection.execute(f"insert or replace into {table} values ({marks})", astuple(row))

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
            measurements = tuple(Measurement(*row) for row in _select(connection, Measurement))
            schedules = tuple(FoundSchedule(*row) for row in _select(connection, FoundSchedule))
        rows: list[Row] = [*measurements, *schedules]
        for row in rows:
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
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    connection.execute(statement)
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


def _columns(kind: type[Row]) -> str:
    return ", ".join(f.name for f in fields(kind))


def _select(connection: sqlite3.Connection, kind: type[Row]) -> list[tuple[Any, ...]]:
    return connection.execute(f"select {_columns(kind)} from {_TABLES[kind]} order by key, device, compiler").fetchall()


def _identity(row: Row) -> tuple[str, str, str, str]:
    return _TABLES[type(row)], row.key, row.device, row.compiler


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
