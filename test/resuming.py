"""A pytest plugin: with `--resume`, tests that passed in a run that was cut off or failed are not run again.

What passed is written down test by test, under a digest of what a result depends on: every file that git tracks or
does not ignore, the interpreter, and the versions of all installed packages. A run that finds a record with its own
digest goes on from there; any other starts over, and so does the one after a run that ends without a failure.
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--resume", action="store_true", help="skip what passed in a run of the same files that failed")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("resume"):
        config.pluginmanager.register(_Resuming(config), "resuming-run")


def resumed_seconds(config: pytest.Config) -> dict[str, float]:
    """The tests that are not run again, and how long they took."""
    plugin = config.pluginmanager.get_plugin("resuming-run")
    return dict(plugin.earlier) if plugin else {}


def digest_of(root: Path, selection: list[str]) -> str | None:
    """Of the files, of what runs them and of which tests are asked for; None where git knows no files."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    digest = hashlib.sha256()
    for part in _told(root, sorted(filter(None, listed.split(b"\0"))), selection):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _told(root: Path, names: list[bytes], selection: list[str]) -> Iterator[bytes]:
    for name in names:
        path = root / name.decode(errors="surrogateescape")
        yield name
        yield path.read_bytes() if path.is_file() else b"(no file)"
    installed = sorted({f"{d.metadata['Name']} {d.version}" for d in distributions()})
    yield from (text.encode() for text in (sys.version, *installed, *selection))


class _Resuming:
    """One run. The process that the user started holds the record; xdist's workers are told what it says."""

    def __init__(self, config: pytest.Config) -> None:
        self.earlier: dict[str, float] = {}
        self.running: dict[str, float] = {}
        self.record: Path | None = None
        if hasattr(config, "workerinput"):
            self.earlier = config.workerinput["resumed"]
        else:
            self._open(config)

    def _open(self, config: pytest.Config) -> None:
        """Read the record, if it is of this run's files; else begin another."""
        cache = getattr(config, "cache", None)
        chosen = [config.getoption("markexpr"), config.getoption("keyword"), *config.args]
        digest = digest_of(config.rootpath, chosen)
        if cache is None or digest is None:
            return
        self.record = Path(cache.mkdir("resuming")) / "passed"
        head, *lines = self.record.read_text().split("\n") if self.record.exists() else [""]
        if head != digest:
            self.record.write_text(f"{digest}\n")
            return
        for line in lines[:-1]:  # the last is empty, or cut off
            seconds, _, test = line.partition(" ")
            self.earlier[test] = float(seconds)
        self.record.write_text("\n".join([digest, *lines[:-1], ""]))

    @property
    def told(self) -> str:
        count = len(self.earlier)
        return f"{count} test{'s'[: count != 1]} passed in an earlier run of the same files: not run again"

    def pytest_report_header(self) -> str | None:
        return self.told if self.earlier else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["resumed"] = self.earlier

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        passed = [item for item in items if item.nodeid in self.earlier]
        if passed:
            items[:] = [item for item in items if item.nodeid not in self.earlier]
            config.hook.pytest_deselected(items=passed)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a test down once all of its phases passed; one that is skipped is asked again next time."""
        if self.record is None:
            return
        if report.passed and (report.when == "setup" or report.nodeid in self.running):
            self.running[report.nodeid] = self.running.get(report.nodeid, 0.0) + report.duration
        else:
            self.running.pop(report.nodeid, None)
        if report.when == "teardown" and report.nodeid in self.running:
            with self.record.open("a") as file:
                file.write(f"{self.running.pop(report.nodeid):.3f} {report.nodeid}\n")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.earlier:
            exitstatus = session.exitstatus = pytest.ExitCode.OK
        if exitstatus == pytest.ExitCode.OK and self.record is not None:
            self.record.unlink(missing_ok=True)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.earlier:
            terminalreporter.write_line(self.told)
