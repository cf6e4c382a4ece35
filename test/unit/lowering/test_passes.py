"""Passes as classes, options as text, and pipelines run from Python."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest

from mlirfuse.errors import UnsupportedOp
from mlirfuse.lowering.passes import (
    PASSES,
    PassFailure,
    PassPipeline,
    PipelineError,
    Timing,
    load_passes,
    options_of,
    register_pass,
    run_pipeline,
)
from mlirfuse.lowering.passes.options import build_pass, pass_text
from mlirfuse.lowering.passes.syntax import Element, parse_elements
from mlirfuse.mlir import context, ir

TEXT = """
func.func @f(%x: i32) -> i32 {
  %0 = arith.addi %x, %x : i32
  %1 = arith.addi %x, %x : i32
  %2 = arith.muli %0, %1 : i32
  return %2 : i32
}
"""


@dataclass(frozen=True)
class Everything:
    """One option of every kind."""

    name: ClassVar[str] = "test-everything"
    count: int = 1
    scale: float = 1.0
    loud: bool = False
    title: str = "none of it"
    mode: Literal["fast", "small"] = "fast"
    level: Literal[1, 2] | None = None
    chooser: Any = field(default=None)  # no option: only Python can pass one

    def __call__(self, module_op: ir.Operation) -> None:
        calls.append(self)


@dataclass(frozen=True)
class Count:
    """Count the ops of a function."""

    name: ClassVar[str] = "test-count"
    anchor: ClassVar[str] = "func.func"

    def __call__(self, function: ir.Operation) -> None:
        calls.append(len(list(function.regions[0].blocks[0])))


@dataclass(frozen=True)
class Refuse:
    """Report the first op of the first function, or raise as the frontend would."""

    name: ClassVar[str] = "test-refuse"
    raise_ours: bool = False

    def __call__(self, module_op: ir.Operation) -> None:
        if self.raise_ours:
            raise UnsupportedOp("no such luck")
        next(iter(module_op.regions[0].blocks[0])).location.emit_error("is refused")
        raise PassFailure("one function is refused")


@dataclass(frozen=True)
class Spoil:
    """Leave the function without its return."""

    name: ClassVar[str] = "test-spoil"

    def __call__(self, module_op: ir.Operation) -> None:
        list(module_op.regions[0].blocks[0].operations[0].regions[0].blocks[0])[-1].operation.erase()


calls: list[Any] = []


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    calls.clear()
    for cls in (Everything, Count, Refuse, Spoil):
        monkeypatch.setitem(PASSES, cls.name, cls)


@pytest.fixture
def module() -> Iterator[ir.Module]:
    with context():
        yield ir.Module.parse(TEXT)


def test_every_pass_of_the_project_says_what_it_does() -> None:
    for name, cls in load_passes().items():
        assert cls.name == name
        assert cls.__doc__ and not cls.__doc__.startswith(cls.__name__ + "(")
        assert pass_text(build_pass(cls, "")) == name


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("count=3 scale=2.5 loud=true", {"count": 3, "scale": 2.5, "loud": True}),
        ("loud", {"loud": True}),
        ("title='two words' mode=small", {"title": "two words", "mode": "small"}),
        ("title={a=1 b} level=2", {"title": "a=1 b", "level": 2}),
    ],
)
def test_options_round_trip(text: str, values: dict[str, Any]) -> None:
    built = build_pass(Everything, text)
    assert built == Everything(**values)
    (element,) = parse_elements(pass_text(built))
    assert build_pass(Everything, element.options) == built


@pytest.mark.parametrize("text", ["count=x", "loud=maybe", "mode=slow", "level=3", "chooser=1", "title='a", "size=1"])
def test_bad_options_are_explained(text: str) -> None:
    with pytest.raises(PipelineError, match=r"test-everything|pass options"):
        build_pass(Everything, text)


def test_fields_that_text_cannot_spell_are_no_options() -> None:
    assert [option.name for option in options_of(Everything)] == ["count", "scale", "loud", "title", "mode", "level"]


def test_syntax_nests_and_keeps_option_text() -> None:
    (root,) = parse_elements(" builtin.module( a{x={1,2} y='},'} , func.func(b,c) )")
    assert root == Element(
        "builtin.module",
        children=(
            Element("a", "x={1,2} y='},'"),
            Element("func.func", children=(Element("b"), Element("c"))),
        ),
    )
    assert parse_elements("builtin.module()")[0].children == ()


@pytest.mark.parametrize("text", ["", "a,", "a(", "a(b", "a)", "a{", "a{x='}", "(a)", "a b"])
def test_bad_syntax_is_shown(text: str) -> None:
    with pytest.raises(PipelineError, match="column"):
        parse_elements(text)


def test_pipeline_text_round_trips() -> None:
    text = "builtin.module(test-everything{count=2},func.func(cse),gpu.module(gpu.func(canonicalize)))"
    assert str(PassPipeline.parse(text)) == text


def test_passes_in_order_find_their_anchor() -> None:
    with context():
        pipeline = PassPipeline.of([Everything(count=2), "test-count,affine-loop-tile{tile-size=4}", "cse"])
    nested = "func.func(test-count),func.func(affine-loop-tile{tile-size=4})"
    assert str(pipeline) == f"builtin.module(test-everything{{count=2}},{nested},cse)"


def test_own_and_upstream_passes_alternate(module: ir.Module) -> None:
    run_pipeline(module, "builtin.module(func.func(test-count,cse,test-count),test-everything{count=5})")
    assert calls == [4, 3, Everything(count=5)]


def test_instances_run_as_they_are(module: ir.Module) -> None:
    chosen = Everything(chooser=object())
    run_pipeline(module, [chosen, "cse"])
    assert calls == [chosen]


def test_failure_holds_what_was_reported(module: ir.Module) -> None:
    with pytest.raises(PassFailure, match="one function is refused") as caught:
        run_pipeline(module, "builtin.module(cse,test-refuse)")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.severity, diagnostic.message, diagnostic.line) == ("error", "is refused", 2)
    assert "error: is refused" in str(caught.value)


@pytest.mark.parametrize(("verify", "runs"), [("each", 0), ("end", 1)])
def test_broken_ir_is_noticed(module: ir.Module, verify: Literal["each", "end"], runs: int) -> None:
    with pytest.raises(PassFailure, match=r"the IR is invalid after .*test-spoil") as failure:
        run_pipeline(module, [Spoil(), Everything()], verify=verify)
    assert len(calls) == runs and failure.value.diagnostics


def test_project_errors_pass_through(module: ir.Module) -> None:
    with pytest.raises(UnsupportedOp, match="no such luck"):
        run_pipeline(module, [Refuse(raise_ours=True)])


def test_upstream_failure_holds_diagnostics() -> None:
    with context():
        module = ir.Module.parse("func.func @f() { return }")
        wrong = ir.FunctionType.get([], [ir.F32Type.get()])
        module.body.operations[0].attributes["function_type"] = ir.TypeAttr.get(wrong)
        with pytest.raises(PassFailure, match="has 0 operands, but enclosing function"):
            run_pipeline(module, "builtin.module(canonicalize)")


def test_nothing_runs_where_a_later_name_is_wrong(module: ir.Module) -> None:
    with pytest.raises(PipelineError, match="no-such-pass"):
        run_pipeline(module, "builtin.module(test-everything,no-such-pass)")
    assert calls == []


def test_timing_has_a_row_for_every_pass(module: ir.Module) -> None:
    timing = Timing()
    run_pipeline(module, "builtin.module(cse,canonicalize,test-everything)", observers=[timing])
    assert list(timing.seconds) == ["cse", "canonicalize", "test-everything"]
    assert "Total" in timing.table()


def test_registration_refuses_what_is_no_pass() -> None:
    class NotData:
        """No dataclass."""

        name = "test-not-data"

    @dataclass(frozen=True)
    class Silent:
        name: ClassVar[str] = "test-silent"

        def __call__(self, module_op: ir.Operation) -> None: ...

    with pytest.raises(TypeError, match="dataclass"):
        register_pass(NotData)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="docstring"):
        register_pass(Silent)


def test_registration_refuses_a_second_pass_of_one_name() -> None:
    @dataclass(frozen=True)
    class Other:
        """Not the same."""

        name: ClassVar[str] = "test-count"

        def __call__(self, module_op: ir.Operation) -> None: ...

    with pytest.raises(TypeError, match="defined twice"):
        register_pass(Other)
