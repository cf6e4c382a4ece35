"""Rewrite patterns: drivers, refusals, endless loops, and named sets."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from mlirfuse.lowering.passes import PassFailure
from mlirfuse.lowering.patterns import (
    Pattern,
    apply_greedily,
    no_match,
    patterns_in,
    register_pattern,
    walk_and_apply,
)
from mlirfuse.mlir import arith, context, ir


@pytest.fixture
def module() -> Iterator[ir.Module]:
    adds = "\n".join(f"%v{i + 1} = arith.addi %v{i}, %x : i32" for i in range(30))
    with context():
        yield ir.Module.parse(f"func.func @f(%x: i32, %v0: i32) -> i32 {{\n{adds}\nreturn %v30 : i32\n}}")


def multiply_instead(op: Any, rewriter: Any) -> object:
    """a + b  =>  a * b"""
    with rewriter.ip, op.location:
        product = arith.MulIOp(op.lhs, op.rhs)
    rewriter.replace_op(op, product)
    return None


def names(module: ir.Module) -> set[str]:
    return {op.operation.name for op in module.body.operations[0].regions[0].blocks[0]}


@pytest.mark.parametrize("root", [arith.AddIOp, "arith.addi"])
@pytest.mark.parametrize("apply", [apply_greedily, walk_and_apply])
def test_patterns_reach_every_op(module: ir.Module, root: Any, apply: Any) -> None:
    apply(module.operation, {root: multiply_instead})
    assert names(module) == {"arith.muli", "func.return"}


def test_refused_match_changes_nothing_and_is_logged(module: ir.Module, caplog: pytest.LogCaptureFixture) -> None:
    before = str(module)
    with caplog.at_level(logging.DEBUG, "mlirfuse.rewrite"):
        apply_greedily(module.operation, {arith.AddIOp: lambda op, rewriter: no_match(op, "not today")})
    assert str(module) == before
    assert "not today" in caplog.text


def test_larger_benefit_goes_first(module: ir.Module) -> None:
    seen = []

    def note(mark: str) -> Any:
        return lambda op, rewriter: seen.append(mark) or True

    first, second = (Pattern(arith.AddIOp, note(mark), benefit) for mark, benefit in (("small", 1), ("large", 2)))
    walk_and_apply(module.operation, [first, second])
    assert seen[:2] == ["large", "small"]


def test_endless_pattern_is_named(module: ir.Module) -> None:
    def changes_nothing(op: Any, rewriter: Any) -> None: ...

    with pytest.raises(PassFailure, match="'changes_nothing' does not come to an end: 50 rewrites"):
        apply_greedily(module.operation, {arith.AddIOp: changes_nothing}, max_rewrites=50)


def test_limited_iterations_may_not_suffice(module: ir.Module) -> None:
    with pytest.raises(PassFailure, match="after 1 iterations"):
        apply_greedily(module.operation, {arith.AddIOp: lambda op, rewriter: None}, max_iterations=1)


def test_error_in_a_pattern_keeps_its_type(module: ir.Module) -> None:
    def broken(op: Any, rewriter: Any) -> None:
        raise LookupError("lost")

    for apply in (apply_greedily, walk_and_apply):
        with pytest.raises(LookupError, match="lost"):
            apply(module.operation, {arith.AddIOp: broken})


def test_sets_collect_registered_patterns(module: ir.Module) -> None:
    assert patterns_in("test-set") == ()
    assert register_pattern("test-set", arith.AddIOp, benefit=3)(multiply_instead) is multiply_instead
    assert patterns_in("test-set") == (Pattern(arith.AddIOp, multiply_instead, 3),)
    apply_greedily(module.operation, patterns_in("test-set"))
    assert "arith.addi" not in names(module)
