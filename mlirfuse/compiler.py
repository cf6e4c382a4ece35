"""From an ONNX model to an executable: the stage table, and the only place that knows the whole way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.options import CompileOptions, Target, parse_target

if TYPE_CHECKING:
    from mlirfuse.artifact import Artifact
    from mlirfuse.runtime import Executable

__all__ = ["EMITTED", "Compilation", "compile", "compile_artifact", "compile_here", "emit", "emit_here"]

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
    from mlirfuse.dialect import WeightStore
    from mlirfuse.mlir import context
    from mlirfuse.targets import backend_for
    from mlirfuse.targets.finish import precision_of

    compilation = Compilation(model, parse_target(target), options, progress or (lambda stage, done: None))
    backend = backend_for(compilation.target)
    precision_of(options)
    store = WeightStore()
    with context(), store.active():
        module, imported = _to_stage(compilation, backend.stage_options(compilation.target, options), "kernels", store)
        return backend.finish(compilation, module, store, imported)


def _to_stage(compilation: Compilation, stage_options: Any, stage: str, store: Any) -> tuple[Any, Any]:
    """Import, then run the stages up to `stage`; the module and the imported model."""
    from mlirfuse.frontend import import_model, load_model
    from mlirfuse.lowering.passes import run_pipeline
    from mlirfuse.lowering.pipeline.stages import STAGES, pipeline_for
    from mlirfuse.report import intermediate_bytes

    with compilation.stage("import"):
        imported = load_model(compilation.model, compilation.options.shapes)
        module = import_model(imported, store, compilation.options.shapes, strict=compilation.options.strict)
        compilation.unfused_bytes = intermediate_bytes(module)
    for name in STAGES[1 : STAGES.index(stage) + 1]:
        with compilation.stage(name):
            # Verified once a stage: between passes it takes as long as the passes (mlirfuse-opt does it there too).
            run_pipeline(module, pipeline_for(name, stage_options), verify="end")
    return module, imported


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

    if stage not in EMITTED:
        raise MlirfuseError(f"There is no stage '{stage}' to emit; there are {', '.join(EMITTED)}.")
    compilation = Compilation(model, parse_target(target), options, progress or (lambda stage, done: None))
    backend = backend_for(compilation.target)
    store = WeightStore()
    with context(), store.active():
        if stage in ("graph", "planned", "scheduled", "kernels"):
            module, _ = _to_stage(compilation, backend.stage_options(compilation.target, options), stage, store)
            return module.operation.get_asm(enable_debug_info=True), store
        if stage not in backend.late_stages:
            known = ", ".join(("graph", "planned", "scheduled", "kernels", *backend.late_stages))
            raise UnsupportedTarget(f"The target '{target}' has no stage '{stage}'; it has {known}.")
        module, _ = _to_stage(compilation, backend.stage_options(compilation.target, options), "kernels", store)
        return backend.late_stages[stage](compilation, module), store
