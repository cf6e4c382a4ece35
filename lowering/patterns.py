"""How rewrite patterns are applied, how one says that it does not apply, and named sets of them.

A pattern is `fn(op, rewriter)`. It returns nothing where it rewrote (or changed in place), and `no_match(...)`
where it left everything as it was: the driver reads a true value as failure. After `rewriter.replace_op(op, ...)`
or `erase_op(op)` it must not touch `op` again; the op is gone, and using it is a native crash.
"""

import functools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, TypeVar

from mlirfuse.lowering.passes.registry import PassFailure
from mlirfuse.mlir import ir, rewrite

__all__ = ["Pattern", "apply_greedily", "no_match", "patterns_in", "register_pattern", "walk_and_apply"]

Root = type | str  # an op class, or an op name such as "arith.addf"
Rewrite = Callable[[Any, rewrite.PatternRewriter], object]
R = TypeVar("R", bound=Rewrite)
ENTRY_POINTS = "mlirfuse.patterns"

_log = logging.getLogger("mlirfuse.rewrite")


@dataclass(frozen=True)
class Pattern:
    """A rewrite with the op it starts from; where several match, the larger benefit goes first."""

    root: Root
    rewrite: Rewrite
    benefit: int = 1


Patterns = Mapping[Any, Rewrite] | Iterable[Pattern]

_sets: dict[str, list[Pattern]] = defaultdict(list)


def no_match(op: object, why: str) -> bool:
    """Fail the match, and log why (logger `mlirfuse.rewrite`, level DEBUG)."""
    _log.debug("no match on %s: %s", op, why)
    return True


def register_pattern(set_name: str, root: Root, benefit: int = 1) -> Callable[[R], R]:
    """Add the decorated rewrite to a named set, such as "classify" or "fuse"."""

    def add(rewrite_: R) -> R:
        _sets[set_name].append(Pattern(root, rewrite_, benefit))
        return rewrite_

    return add


def patterns_in(set_name: str) -> tuple[Pattern, ...]:
    """The patterns of a set, those of installed extensions (entry points `mlirfuse.patterns`) included."""
    _load_extensions()
    return tuple(_sets[set_name])


@functools.cache
def _load_extensions() -> None:
    for entry_point in entry_points(group=ENTRY_POINTS):
        entry_point.load()


def apply_greedily(op: ir.Operation, patterns: Patterns, max_iterations: int = -1, max_rewrites: int = 100_000) -> None:
    """Rewrite and fold under `op` until nothing matches.

    Iterations are unlimited by default, because the driver does not see ops built by Python patterns until the
    next one. PassFailure names the last pattern once `max_rewrites` have not led to an end.
    """
    config = rewrite.GreedyRewriteConfig()
    config.max_iterations = max_iterations
    frozen = _freeze(patterns, max_rewrites)
    try:
        rewrite.apply_patterns_and_fold_greedily(op, frozen, config)
    except RuntimeError as error:
        if "failed to converge" not in str(error):
            raise
        raise PassFailure(f"patterns still apply after {max_iterations} iterations over {op.name}") from None


def walk_and_apply(op: ir.Operation, patterns: Patterns, max_rewrites: int = 100_000) -> None:
    """Visit the ops nested in `op` once, without folding; a pattern may erase only the op that it matched."""
    rewrite.walk_and_apply_patterns(op, _freeze(patterns, max_rewrites))


def _freeze(patterns: Patterns, max_rewrites: int) -> rewrite.FrozenRewritePatternSet:
    if isinstance(patterns, Mapping):
        patterns = [Pattern(root, fn) for root, fn in patterns.items()]
    budget = _Budget(max_rewrites)
    collected = rewrite.RewritePatternSet()
    for pattern in patterns:
        collected.add(pattern.root, budget.charge(pattern.rewrite), pattern.benefit)
    return collected.freeze()


class _Budget:
    """Counts rewrites: a pattern that reports success without changing anything would run forever."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.spent = 0

    def charge(self, rewrite_: Rewrite) -> Rewrite:
        def counted(op: Any, rewriter: rewrite.PatternRewriter) -> object:
            if rewrite_(op, rewriter):
                return True
            self.spent += 1
            if self.spent > self.limit:
                name = getattr(rewrite_, "__name__", repr(rewrite_))
                raise PassFailure(
                    f"pattern '{name}' does not come to an end: {self.limit} rewrites were made; "
                    "it should return no_match(...) where it changes nothing"
                )
            return None

        return counted
