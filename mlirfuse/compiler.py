"""From an ONNX model to an executable: the stage table, and the only place that knows the whole way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.options import CompileOptions, Target, parse_target

if TYPE_CHECKING:
    from mlirfuse.artifact import Artifact
    from mlirfuse.explain import Explanation
    from mlirfuse.runtime import Executable

__all__ = [
    *("EMITTED", "Compilation", "compile", "compile_artifact", "compile_here", "emit", "emit_here", "explain"),
    "explain_here",
]

Progress = Callable[[str, float], None]  # a stage's name, and how much of it is done (0 to 1)
EMITTED = ("graph", "planned", "scheduled", "kernels", "nvvm", "llvm", "ptx", "object")


def compile(
    model: Any,
    target: str = "cpu",
    options: CompileOptions | None = None,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Executable:
    """Compile a model (path, bytes or onnx.ModelProto) for `target` and load it on this machine.

    `settings` are fields of CompileOptions. The compiler runs in a process of its own, so that a crash of native code
    is an error here (CompilerCrash) and nothing worse.

    Raises InvalidModel, UnsupportedOp, UnsupportedTarget; all are MlirfuseError.
    """
    from mlirfuse.runtime import load

    return load(compile_artifact(model, target, options, progress=progress, **settings), threads=threads)


def compile_artifact(
    model: Any,
    target: str = "cpu",
    options: CompileOptions | None = None,
    *,
    progress: Progress | None = None,
    isolated: bool = True,
    **settings: Any,
) -> Artifact:
    """As `compile`, without loading: works for targets that this machine does not have."""
    options = _options(options, settings)
    parse_target(target)
    if isolated:
        from mlirfuse.worker import compile_in_worker

        return compile_in_worker(model, target, options, progress)
    return compile_here(model, target, options, progress)


def _options(options: CompileOptions | None, settings: dict[str, Any]) -> CompileOptions:
    if options is not None and settings:
        raise MlirfuseError(
            "Give compile either options=CompileOptions(...) or settings, not both; "
            f"found both options and {', '.join(settings)}."
        )
    try:
        return options if options is not None else CompileOptions(**settings)
    except TypeError as error:
        raise MlirfuseError(f"CompileOptions: {error}.") from None


@dataclass
class Compilation:
    """One model on its way through the stages; `seconds` is what each took."""

    model: Any
    target: Target
    options: CompileOptions
    progress: Progress = lambda stage, done: None
    seconds: dict[str, float] = field(default_factory=dict)
    graph: str = ""  # the text of the module at the graph stage, for backends that lower it again
    unfused_bytes: int = 0  # what would be stored between launches if every imported op were one

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and tell of it."""
        self.progress(name, 0.0)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 4)
        self.progress(name, 1.0)


def compile_here(model: Any, target: str, options: CompileOptions, progress: Progress | None = None) -> Artifact:
    """Compile in this process: what the worker runs."""
    from mlirfuse.artifact.explanation import explanation_bytes
    from mlirfuse.dialect import WeightStore
    from mlirfuse.mlir import context
    from mlirfuse.targets import backend_for
    from mlirfuse.targets.finish import precision_of

    compilation = Compilation(model, parse_target(target), options, progress or (lambda stage, done: None))
    backend = backend_for(compilation.target)
    precision_of(options)
    store = WeightStore()
    with context(), store.active():
        module, imported = _imported(compilation, store)
        compilation.graph = str(module) if backend.lowers_again else ""
        explanation = _explained(compilation, module, backend)
        _advance(compilation, module, backend, ("kernels",))
        artifact = backend.finish(compilation, module, store, imported)
        costs = {"overrides": [o.to_dict() for o in explanation.overrides]} if explanation.overrides else {}
        packed = explanation_bytes(explanation.to_dict())
        return replace(artifact, explanation=packed, report={**artifact.report, **costs})


def _imported(compilation: Compilation, store: Any) -> tuple[Any, Any]:
    """The module at the graph stage, and the imported model."""
    from mlirfuse.frontend import import_model, load_model
    from mlirfuse.report import intermediate_bytes

    with compilation.stage("import"):
        imported = load_model(compilation.model, compilation.options.shapes)
        module = import_model(imported, store, compilation.options.shapes, strict=compilation.options.strict)
        compilation.unfused_bytes = intermediate_bytes(module)
    return module, imported


def _advance(compilation: Compilation, module: Any, backend: Any, stages: Sequence[str]) -> None:
    """Run the given stages on `module`, in place."""
    from mlirfuse.lowering.passes import run_pipeline
    from mlirfuse.lowering.pipeline.stages import pipeline_for

    options = backend.stage_options(compilation.target, compilation.options)
    for name in stages:
        with compilation.stage(name):
            # Verified once a stage: between passes it takes as long as the passes (mlirfuse-opt does it there too).
            run_pipeline(module, pipeline_for(name, options), verify="end")


def _to_stage(compilation: Compilation, backend: Any, stage: str, store: Any) -> Any:
    """Import, then run the stages up to `stage`."""
    from mlirfuse.lowering.pipeline.stages import STAGES

    module, _ = _imported(compilation, store)
    _advance(compilation, module, backend, STAGES[1 : STAGES.index(stage) + 1])
    return module


# --- why ------------------------------------------------------------------------------------------


def explain(model: Any, target: str, options: CompileOptions) -> Explanation:
    """Why `model` is fused as it is, from a process of its own: planned and scheduled, but not compiled."""
    from mlirfuse.worker import explain_in_worker

    return explain_in_worker(model, target, options)


def explain_here(model: Any, target: str, options: CompileOptions) -> Explanation:
    """As `explain`, in this process: what the worker runs."""
    from mlirfuse.dialect import WeightStore
    from mlirfuse.mlir import context
    from mlirfuse.targets import backend_for
    from mlirfuse.targets.finish import precision_of

    compilation = Compilation(model, parse_target(target), options)
    precision_of(options)
    store = WeightStore()
    with context(), store.active():
        module, _ = _imported(compilation, store)
        return _explained(compilation, module, backend_for(compilation.target))


def _explained(compilation: Compilation, module: Any, backend: Any) -> Explanation:
    """Plan and schedule the imported `module`, in place; the explanation, with the cost of every override.

    What an override costs is the difference to the plan that is made without it.
    """
    from mlirfuse.explain import Override
    from mlirfuse.explain.read import explain_module

    others = [(option, module.operation.clone(), changed) for option, changed in _without_overrides(compilation)]
    _advance(compilation, module, backend, ("planned", "scheduled"))
    with compilation.stage("explain"):
        found = explain_module(module, str(compilation.target))
        overrides = []
        for option, other, changed in others:
            _advance(changed, other, backend, ("planned", "scheduled"))
            overrides.append(Override(option, found.totals, explain_module(other).totals))
        return replace(found, overrides=tuple(overrides))


def _without_overrides(compilation: Compilation) -> Iterator[tuple[str, Compilation]]:
    """Each override as it is written on the command line, with the compilation that lacks it; then all, if several."""
    options = compilation.options
    each = [(f"--no-fuse {name}", replace(options, no_fuse=_others(options.no_fuse, name))) for name in options.no_fuse]
    each += [
        (f"--force-fuse {','.join(names)}", replace(options, force_fuse=_others(options.force_fuse, names)))
        for names in options.force_fuse
    ]
    if len(each) > 1:
        each.append(("all of them", replace(options, no_fuse=(), force_fuse=())))
    for option, changed in each:
        yield option, Compilation(compilation.model, compilation.target, changed)


def _others(items: Any, item: Any) -> tuple[Any, ...]:
    return tuple(other for other in items if other != item)


# --- stages as text -------------------------------------------------------------------------------


def emit(model: Any, target: str, options: CompileOptions, stage: str) -> tuple[str | bytes, Any]:
    """The text of one stage (bytes for object), and the weight store that it refers to; from a process of its own."""
    from mlirfuse.worker import emit_in_worker

    return emit_in_worker(model, target, options, stage)


def emit_here(
    model: Any, target: str, options: CompileOptions, stage: str, progress: Progress | None = None
) -> tuple[str | bytes, Any]:
    """As `emit`, in this process: what the worker runs."""
    from mlirfuse.dialect import WeightStore
    from mlirfuse.mlir import context
    from mlirfuse.targets import backend_for
    from mlirfuse.targets.finish import precision_of

    precision_of(options)
    if stage not in EMITTED:
        raise MlirfuseError(f"There is no stage '{stage}' to emit; there are {', '.join(EMITTED)}.")
    compilation = Compilation(model, parse_target(target), options, progress or (lambda stage, done: None))
    backend = backend_for(compilation.target)
    store = WeightStore()
    with context(), store.active():
        if stage in ("graph", "planned", "scheduled", "kernels"):
            module = _to_stage(compilation, backend, stage, store)
            return module.operation.get_asm(enable_debug_info=True), store
        if stage not in backend.late_stages:
            known = ", ".join(("graph", "planned", "scheduled", "kernels", *backend.late_stages))
            raise UnsupportedTarget(f"The target '{target}' has no stage '{stage}'; it has {known}.")
        module = _to_stage(compilation, backend, "kernels", store)
        return backend.late_stages[stage](compilation, module), store
