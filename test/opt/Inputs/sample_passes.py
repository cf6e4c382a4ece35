"""Passes and patterns outside the project, as an extension would bring them."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from mlirfuse.lowering.passes import PassFailure, register_pass
from mlirfuse.lowering.patterns import apply_greedily, no_match, patterns_in, register_pattern, walk_and_apply
from mlirfuse.mlir import arith, ir, rewrite


@register_pattern("sample", arith.MulIOp)
def double_by_adding(op: Any, rewriter: rewrite.PatternRewriter) -> object:
    """x * x  =>  x + x (wrong, and easy to see)"""
    if op.lhs != op.rhs:
        return no_match(op, "the operands differ")
    with rewriter.ip, op.location:
        total = arith.AddIOp(op.lhs, op.rhs)
    rewriter.replace_op(op, total)
    return None


@register_pass
@dataclass(frozen=True)
class SampleRewrite:
    """Apply the patterns of set "sample"."""

    name: ClassVar[str] = "sample-rewrite"
    driver: Literal["greedy", "walk"] = "greedy"

    def __call__(self, module_op: ir.Operation) -> None:
        (apply_greedily if self.driver == "greedy" else walk_and_apply)(module_op, patterns_in("sample"))


@register_pass
@dataclass(frozen=True)
class SampleMark:
    """Set attribute `sample.mark` on every function."""

    name: ClassVar[str] = "sample-mark"
    anchor: ClassVar[str] = "func.func"
    value: int = 1
    loud: bool = False
    scale: float | None = None

    def __call__(self, function: ir.Operation) -> None:
        text = "LOUD" if self.loud else f"{self.value} {self.scale}"
        function.attributes["sample.mark"] = ir.StringAttr.get(text)


@register_pass
@dataclass(frozen=True)
class SampleRefuse:
    """Report every op whose attribute `sample.refuse` is set."""

    name: ClassVar[str] = "sample-refuse"

    def __call__(self, module_op: ir.Operation) -> None:
        refused = [op for function in module_op.regions[0].blocks[0] for op in function.regions[0].blocks[0]]
        refused = [op for op in refused if "sample.refuse" in op.attributes]
        for op in refused:
            op.location.emit_error(f"'{op.operation.name}' op is refused")
        if refused:
            raise PassFailure(f"{len(refused)} ops are refused")


@register_pass
@dataclass(frozen=True)
class SampleBug:
    """Fail as a pass with a bug does, or leave invalid IR behind, or never come to an end."""

    name: ClassVar[str] = "sample-bug"
    kind: Literal["raise", "invalid", "endless", "silent"] = "raise"

    def __call__(self, module_op: ir.Operation) -> None:
        if self.kind == "raise":
            raise KeyError("lost")
        if self.kind == "silent":
            raise PassFailure("something is wrong somewhere")
        if self.kind == "endless":
            apply_greedily(module_op, {arith.MulIOp: lambda op, rewriter: None}, max_rewrites=100)
        function = module_op.regions[0].blocks[0].operations[0]
        function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get([], []))
