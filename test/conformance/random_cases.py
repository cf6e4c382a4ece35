"""How random cases are drawn: the same ones in every run, however long one takes.

Hypothesis takes some constants from the modules that are loaded: a file by itself has other cases than the whole suite.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

__all__ = ["each_of"]


def each_of(strategy: SearchStrategy[Any], count: int, check: Callable[[Any], None], shard: int | None = None) -> None:
    """Call `check` with `count` cases; every shard has others."""

    @given(strategy)
    def run(case: Any) -> None:
        check(case)

    drawn = settings(
        max_examples=count,
        derandomize=shard is None,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )(run)
    (drawn if shard is None else seed(shard)(drawn))()
