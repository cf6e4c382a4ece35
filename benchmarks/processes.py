"""Measurements that are processes of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from mlirfuse.cli.race import environment

__all__ = ["entry_of", "tell"]

_RESULT_LINE = "result: "


def tell(entry: Mapping[str, Any]) -> None:
    """What a child hands to its parent, as its last word."""
    print(_RESULT_LINE + json.dumps(entry))


def entry_of(command: Sequence[str], timeout: float) -> dict[str, Any]:
    """What a child tells; {"failed": reason} if it takes too long or ends without a word."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment())
    except subprocess.TimeoutExpired:
        return {"failed": f"it took more than {timeout:.0f} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith(_RESULT_LINE)]
    if done.returncode != 0 or not lines:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        return {"failed": f"exit status {done.returncode}: {' | '.join(said)}"}
    found: dict[str, Any] = json.loads(lines[-1].removeprefix(_RESULT_LINE))
    return found
