"""Which function imports which ONNX operator.

A rule is `fn(b: OpBuilder, node: NodeCall) -> Tensor | sequence of Tensor` that emits fusion ops through `b`.
It raises `NoRule` where the node is valid but beyond it (the node then falls back to the host) and
`InvalidNode` where the node breaks its operator's contract. Out-of-tree rules register through the entry
point group `mlirfuse.importers`: each entry names a module that is imported once, or a function that is called.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

__all__ = ["InvalidNode", "NoRule", "importer", "known_operators", "rule_for"]

Rule = Callable[..., Any]
_RULES: dict[tuple[str, str], Rule] = {}
_DEFAULT_DOMAINS = ("", "ai.onnx")


class NoRule(Exception):
    """This node is valid, but no rule expresses it in fusion ops; the message is the reason."""


class InvalidNode(Exception):
    """This node breaks its operator's contract; the message is the complaint."""


def importer(*op_types: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule for `op_types` (a later registration wins)."""

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            _RULES[domain, op_type] = rule
        return rule

    return register


def rule_for(domain: str, op_type: str) -> Rule | None:
    """The rule of an operator, or None."""
    _load_rules()
    return _RULES.get(("" if domain in _DEFAULT_DOMAINS else domain, op_type))


def known_operators() -> frozenset[str]:
    """The operators of ONNX's own domain that have a rule."""
    _load_rules()
    return frozenset(op_type for domain, op_type in _RULES if domain == "")


@functools.cache
def _load_rules() -> None:
    """Import every module of `rules`, then what other packages contribute."""
    from mlirfuse.frontend import rules

    for module in pkgutil.iter_modules(rules.__path__):
        importlib.import_module(f"{rules.__name__}.{module.name}")
    for entry in entry_points(group="mlirfuse.importers"):
        loaded = entry.load()
        if callable(loaded):
            loaded()
