"""What happens during long work, on standard error, where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["compile_progress", "step_progress"]


@contextmanager
def compile_progress(title: str) -> Iterator[Callable[[str, float], None] | None]:
    """A callback for the compiler's stages; None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.status import Status

    with Status(f"compiling {title}", console=Console(stderr=True, highlight=False, markup=False)) as status:

        def tell(stage: str, done: float) -> None:
            percent = "" if done in (0.0, 1.0) else f" {done:.0%}"
            status.update(f"compiling {title}: {stage}{percent}")

        yield tell


@contextmanager
def step_progress(title: str) -> Iterator[Callable[[str], None]]:
    """A callback for the steps of other long work."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.status import Status

    with Status(title, console=Console(stderr=True, highlight=False, markup=False)) as status:
        yield lambda text: status.update(f"{title}: {text}")
