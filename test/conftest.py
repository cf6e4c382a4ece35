"""Sums up how long each suite took beside its budget (budgets.toml); `--resume` is resuming.py's."""

import tomllib
from collections import defaultdict
from pathlib import Path

pytest_plugins = ["resuming"]
HERE = Path(__file__).parent
_seconds: dict[str, float] = defaultdict(float)


def _count(nodeid, seconds):
    """Count to the folder under test/ that a test is in."""
    parts = Path(nodeid.split("::")[0]).parts
    if len(parts) > 1 and parts[0] == HERE.name:
        _seconds[parts[1]] += seconds


def pytest_runtest_logreport(report):
    """Count every phase of a test."""
    _count(report.nodeid, report.duration)


def pytest_terminal_summary(terminalreporter, config):
    for nodeid, seconds in config.pluginmanager.get_plugin("resuming").resumed_seconds(config).items():
        _count(nodeid, seconds)
    which = "test" if "not slow" in (config.getoption("markexpr") or "") else "test-all"
    budgets = tomllib.loads((HERE / "budgets.toml").read_text())[which]
    shown = {suite: seconds for suite, seconds in sorted(_seconds.items()) if suite in budgets}
    if shown:
        terminalreporter.section(f"minutes of each suite, and its budget in `make {which}`")
    for suite, seconds in shown.items():
        over = "  OVER BUDGET" if seconds > 60 * budgets[suite] else ""
        terminalreporter.write_line(f"{suite:12} {seconds / 60:6.1f} of {budgets[suite]:3d}{over}")
