"""The lit tests, as one pytest test, so that pytest's summary covers them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_lit(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from lit.main import main; main()", "-sv", "--param", f"exec_root={tmp_path}"]
    run = subprocess.run([*command, str(ROOT / "test")], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stdout + run.stderr
