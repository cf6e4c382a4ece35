"""Pipelines that mix our passes with upstream's, and how they run.

A pipeline is flat: steps with the ops they are nested in. MLIR runs a nested pipeline to its end on one op before
it turns to the next; as such ops are isolated from each other, one pass over all of them after another gives the
same result, and lets consecutive upstream passes share one upstream PassManager.
"""

import itertools
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.passes.diagnostics import collect_diagnostics
from mlirfuse.lowering.passes.observers import Observer
from mlirfuse.lowering.passes.options import build_pass, pass_text
from mlirfuse.lowering.passes.registry import Pass, PassFailure, PipelineError, anchor_of, find_pass
from mlirfuse.lowering.passes.syntax import Element, parse_elements
from mlirfuse.mlir import ir, passmanager

__all__ = ["PassPipeline", "Step", "run_pipeline"]

ROOT = "builtin.module"
Verify = Literal["each", "end", "never"]
_PARENTS = {"gpu.func": ("gpu.module",), "llvm.func": (), "func.func": ()}
_RESTRICTED = re.compile(r"restricted to '([\w.]+)'")


@dataclass(frozen=True)
class Step:
    """One pass on every op that `anchors` leads to: ours as an instance, upstream's as text."""

    work: Pass | str
    anchors: tuple[str, ...] = (ROOT,)

    @property
    def is_upstream(self) -> bool:
        return isinstance(self.work, str)

    def __str__(self) -> str:
        text = self.work if isinstance(self.work, str) else pass_text(self.work)
        return _nest(self.anchors[1:], text)


@dataclass(frozen=True)
class PassPipeline:
    """Steps that run on a builtin.module, in order."""

    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> "PassPipeline":
        """From MLIR's textual form, `builtin.module(a,func.func(b{x=1}))`."""
        elements = parse_elements(text)
        if len(elements) != 1 or elements[0].name != ROOT or elements[0].children is None:
            raise PipelineError(f"expected a pass pipeline of the form {ROOT}(...), but got '{text}'")
        return cls(tuple(_steps(elements[0], ())))

    @classmethod
    def of(cls, passes: Iterable[Pass | str]) -> "PassPipeline":
        """From passes in order, each an instance or `name{options}`, nested where they need to be.

        Upstream's needs are asked of upstream, in the current context.
        """
        steps: list[Step] = []
        for item in passes:
            elements = parse_elements(item) if isinstance(item, str) else (item,)
            for element in elements:
                work = _leaf(element) if isinstance(element, Element) else element
                steps.append(Step(work, _implicit_anchors(work)))
        return cls(tuple(steps))

    def __str__(self) -> str:
        return f"{ROOT}({','.join(map(str, self.steps))})"

    def split_at(self, kind: type) -> tuple["PassPipeline", "PassPipeline"]:
        """The passes before the first one of class `kind`, which there must be, and the rest."""
        at = next(i for i, step in enumerate(self.steps) if isinstance(step.work, kind))
        return PassPipeline(self.steps[:at]), PassPipeline(self.steps[at:])

    def check(self) -> None:
        """PipelineError for names, options or nesting that upstream refuses; needs a current context."""
        for step in self.steps:
            if step.is_upstream:
                _upstream([step])

    def run(
        self, module: ir.Module | ir.Operation, *, verify: Verify = "each", observers: Sequence[Observer] = ()
    ) -> None:
        """Run on `module` in place, verified after each pass, after the last one ("end") or never.

        Errors of upstream passes and of the verifier go to the context's diagnostic handlers, then PassFailure is
        raised. With observers, every pass runs on its own.
        """
        root = module.operation
        if root.name != ROOT:
            raise PipelineError(f"a pass pipeline runs on a {ROOT}, but got a {root.name}")
        with root.context, ir.Location.unknown():
            self.check()
            for batch in _batches(self.steps, single=bool(observers)):
                for observer in observers:
                    observer.before(batch[0], root)
                start = time.perf_counter()
                _run_batch(batch, root, verify == "each")
                seconds = time.perf_counter() - start
                for observer in observers:
                    observer.after(batch[0], root, seconds)
            if verify == "end" and not _is_valid(root):
                raise PassFailure(f"the IR is invalid after one of the passes {self}; mlirfuse-opt tells which")


def run_pipeline(
    module: ir.Module | ir.Operation,
    pipeline: str | PassPipeline | Iterable[Pass | str],
    *,
    verify: Verify = "each",
    observers: Sequence[Observer] = (),
) -> None:
    """Run a pipeline on `module` in place: its text, or passes in order (instances or `name{options}`).

    PassFailure holds the errors that the passes reported; PipelineError says what is wrong with the pipeline.
    """
    with module.context as ctx, collect_diagnostics(ctx, errors_only=True) as errors:
        if isinstance(pipeline, str):
            pipeline = PassPipeline.parse(pipeline)
        elif not isinstance(pipeline, PassPipeline):
            pipeline = PassPipeline.of(pipeline)
        try:
            pipeline.run(module, verify=verify, observers=observers)
        except PassFailure as failure:
            failure.diagnostics += tuple(errors)
            raise


def _steps(element: Element, anchors: tuple[str, ...]) -> Iterator[Step]:
    if element.children is not None:
        for child in element.children:
            yield from _steps(child, (*anchors, element.name))
        return
    work = _leaf(element)
    if not isinstance(work, str) and (anchor := anchor_of(work)) != anchors[-1]:
        raise PipelineError(
            f"pass '{work.name}' runs on {anchor}, but is nested in {anchors[-1]}(...); "
            f"write {_nest((*_implicit_anchors(work),), work.name)}"
        )
    yield Step(work, anchors)


def _leaf(element: Element) -> Pass | str:
    if (cls := find_pass(element.name)) is not None:
        return build_pass(cls, element.options)
    return f"{element.name}{{{element.options}}}" if element.options else element.name


def _implicit_anchors(work: Pass | str) -> tuple[str, ...]:
    if not isinstance(work, str):
        anchor = anchor_of(work)
    else:
        try:
            passmanager.PassManager(ROOT).add(work)
            return (ROOT,)
        except ValueError as error:
            match = _RESTRICTED.search(str(error))
            if match is None:  # wrong in another way: check() will say how
                return (ROOT,)
            anchor = match.group(1)
    return (ROOT,) if anchor == ROOT else (ROOT, *_PARENTS.get(anchor, ()), anchor)


def _nest(anchors: tuple[str, ...], text: str) -> str:
    for anchor in reversed(anchors):
        text = f"{anchor}({text})"
    return text


def _batches(steps: Sequence[Step], single: bool) -> Iterator[list[Step]]:
    """Consecutive upstream steps together, unless each is wanted alone; ours alone always."""
    for upstream, group in itertools.groupby(steps, key=lambda step: step.is_upstream):
        if upstream and not single:
            yield list(group)
        else:
            yield from ([step] for step in group)


def _upstream(steps: Sequence[Step]) -> passmanager.PassManager:
    texts = []
    for anchors, group in itertools.groupby(steps, key=lambda step: step.anchors):
        texts.append(_nest(anchors[1:], ",".join(str(step.work) for step in group)))
    try:
        return passmanager.PassManager.parse(f"{ROOT}({','.join(texts)})")
    except ValueError as error:
        raise PipelineError(_explain(str(error), str(steps[0]))) from None


def _explain(complaint: str, step: str) -> str:
    if "does not refer to a registered pass" in complaint:
        return f"unknown pass in '{step}'; --list-passes shows the project's own, and upstream's names are accepted too"
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    return f"upstream refuses pass '{step}': {'; '.join(lines)}"


def _run_batch(steps: Sequence[Step], root: ir.Operation, verify_each: bool) -> None:
    if steps[0].is_upstream:
        manager = _upstream(steps)
        manager.enable_verifier(verify_each)
        try:
            manager.run(root)
        except ir.MLIRError as error:
            raise PassFailure(f"upstream pass failed: {','.join(map(str, steps))}") from error
        return
    for op in _targets(root, steps[0].anchors[1:]):
        _run_own(steps[0].work, op)  # type: ignore[arg-type]
        if verify_each and not _is_valid(op):
            raise PassFailure(f"the IR is invalid after pass '{steps[0]}'")


def _targets(op: ir.Operation, anchors: tuple[str, ...]) -> list[ir.Operation]:
    if not anchors:
        return [op]
    children = (child.operation for region in op.regions for block in region for child in block)
    return [target for child in children if child.name == anchors[0] for target in _targets(child, anchors[1:])]


def _run_own(pass_: Pass, op: ir.Operation) -> None:
    location = op.location  # the op itself may be in no state to be asked later
    try:
        pass_(op)
    except MlirfuseError:
        raise
    except Exception as error:
        location.emit_error(f"pass '{pass_.name}' failed: {type(error).__name__}: {error}")
        raise PassFailure(f"pass '{pass_.name}' failed on an internal error") from error


def _is_valid(op: ir.Operation) -> bool:
    try:
        return op.verify()
    except ir.MLIRError:
        return False
