"""`make test-all` goes on where an earlier one was cut off (test/resuming.py)."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Each test notes that it ran; what goes wrong is said from outside of the files that the digest is of.
SOURCE = """
import os
import signal
from pathlib import Path

import pytest

NOTES = Path(os.environ["NOTES"])


@pytest.fixture
def broken():
    yield
    assert os.environ["WRONG"] != "teardown"


def ran(name):
    with NOTES.open("a") as file:
        file.write(name + " ")


def test_first():
    ran("first")


def test_cleaned(broken):
    ran("cleaned")


@pytest.mark.parametrize("text", ["one two"])
def test_last(text):
    ran("last")
    if os.environ["WRONG"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.environ["WRONG"] != "call"
"""

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@dataclass
class Project:
    root: Path
    notes: Path
    flags: tuple[str, ...] = ()

    def run(self, wrong: str = "", flags: tuple[str, ...] = ("--resume",)) -> tuple[int, list[str], str]:
        """Exit status, the tests that ran, and what was printed."""
        self.notes.write_text("")
        paths = os.pathsep.join([str(TESTS), *sys.path])
        environment = {**os.environ, "NOTES": str(self.notes), "WRONG": wrong, "PYTHONPATH": paths}
        environment |= {"PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = [sys.executable, "-m", "pytest", "-p", "resuming", *self.flags, *flags]
        run = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True)
        return run.returncode, sorted(self.notes.read_text().split()), run.stdout + run.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    (root / "test_it.py").write_text(SOURCE)
    (root / ".gitignore").write_text("__pycache__/\n")
    (root / "pytest.ini").write_text("[pytest]\n")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    return Project(root, tmp_path / "notes")


@pytest.mark.parametrize("flags", [(), ("-p", "xdist", "-n", "2")], ids=["here", "xdist"])
def test_what_passed_is_left_out_and_counted(project: Project, flags: tuple[str, ...]) -> None:
    project.flags = flags
    assert project.run("call")[:2] == (1, ["cleaned", "first", "last"])
    status, ran, told = project.run("call")
    assert (status, ran) == (1, ["last"]) and "2 tests passed in an earlier run of the same files" in told
    assert project.run()[:2] == (0, ["last"])
    status, ran, told = project.run()
    assert (status, ran) == (0, ["cleaned", "first", "last"]) and "earlier run" not in told


def test_a_test_that_fails_when_it_is_cleaned_up_runs_again(project: Project) -> None:
    assert project.run("teardown")[0] == 1
    assert project.run()[:2] == (0, ["cleaned"])


@pytest.mark.parametrize("name", ["test_it.py", "another.txt"])
def test_other_files_start_over(project: Project, name: str) -> None:
    assert project.run("call")[0] == 1
    with (project.root / name).open("a") as file:
        file.write("\n# changed\n")
    assert project.run()[:2] == (0, ["cleaned", "first", "last"])


def test_other_tests_and_runs_that_do_not_resume_keep_out_of_it(project: Project) -> None:
    assert project.run("call")[0] == 1
    assert project.run(flags=())[:2] == (0, ["cleaned", "first", "last"])
    assert project.run()[:2] == (0, ["last"])
    assert project.run("call")[0] == 1
    assert project.run(flags=("--resume", "-k", "first"))[:2] == (0, ["first"])


def test_a_killed_run_goes_on(project: Project) -> None:
    assert project.run("killed")[1] == ["cleaned", "first", "last"]
    assert project.run()[:2] == (0, ["last"])


@pytest.mark.parametrize("flags", [(), ("-p", "xdist", "-n", "1")], ids=["here", "xdist"])
def test_nothing_left_to_run_is_a_green_run(project: Project, flags: tuple[str, ...]) -> None:
    project.flags = flags
    assert project.run("call")[0] == 1
    record = next(project.root.rglob("resuming/passed"))
    with record.open("a") as file:
        file.write("0.100 test_it.py::test_last[one two]\n")
    assert project.run()[:2] == (0, [])
    assert not record.exists()
