"""`mlirfuse-opt`: run passes over textual IR, ours and upstream's mixed, in the order given."""

import argparse
import faulthandler
import importlib
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mlirfuse.cli.expectations import verify_diagnostics
from mlirfuse.cli.source import Source, read_source
from mlirfuse.dialect import WeightStore
from mlirfuse.errors import MlirfuseError
from mlirfuse.lowering.passes import (
    Diagnostic,
    Observer,
    PassFailure,
    PassPipeline,
    PipelineError,
    PrintIR,
    Timing,
    collect_diagnostics,
    load_passes,
    options_of,
)
from mlirfuse.mlir import context, ir

__all__ = ["main"]

EPILOG = """Every other flag is a pass: `--canonicalize --fusion-x=option=1` runs both in that order, each nested where
it needs to be. Upstream's names are those of mlir-opt."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the driver; 0 if all went well (with --verify-diagnostics: as expected), else 1."""
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)  # a native crash at least says in which pass
    args, pass_flags = _parser().parse_known_args(argv)
    try:
        return _run(args, pass_flags)
    except (MlirfuseError, OSError) as error:
        print(f"mlirfuse-opt: error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mlirfuse-opt", description=__doc__, epilog=EPILOG, allow_abbrev=False)
    flag = parser.add_argument
    flag("input", nargs="?", default="-", help="file of MLIR text; - is standard input (the default)")
    flag("-o", metavar="FILE", default="-", help="write the result to FILE")
    flag("--pass-pipeline", metavar="TEXT", help="for example builtin.module(fusion-x{a=1},func.func(canonicalize))")
    flag("--list-passes", action="store_true", help="list the project's passes with their options")
    flag("--load-module", metavar="MODULE", action="append", default=[], help="import MODULE (dotted, or a .py file)")
    flag("--weights", metavar="FILE", action="append", default=[], help="safetensors file that fusion.weight keys name")
    flag("--weights-out", metavar="FILE", help="write the weights as passes left them")
    flag("--split-input-file", action="store_true", help="process the parts between lines `// -----` on their own")
    flag("--verify-diagnostics", action="store_true", help="check diagnostics against `expected-error` comments")
    flag("--verify-each", action=argparse.BooleanOptionalAction, default=True, help="verify the IR after every pass")
    flag("--allow-unregistered-dialect", action="store_true", help="accept ops of unknown dialects")
    flag("--mlir-print-ir-before-all", action="store_true", help="print the IR before every pass")
    flag("--mlir-print-ir-after-all", action="store_true", help="print the IR after every pass")
    flag("--mlir-print-debuginfo", action="store_true", help="print locations")
    flag("--mlir-print-op-generic", action="store_true", help="print every op in generic form")
    flag("--mlir-print-local-scope", action="store_true", help="print attributes in place, without aliases")
    flag("--mlir-timing", action="store_true", help="print the time of every pass to standard error")
    return parser


def _run(args: argparse.Namespace, pass_flags: Sequence[str]) -> int:
    for name in args.load_module:
        _load(name)
    if args.list_passes:
        print(_listing())
        return 0
    pipeline = _pipeline(args.pass_pipeline, pass_flags)
    source = read_source(args.input)
    timing = Timing()
    asm = {
        "enable_debug_info": args.mlir_print_debuginfo,
        "print_generic_op_form": args.mlir_print_op_generic,
        "use_local_scope": args.mlir_print_local_scope,
    }
    observers: list[Observer] = [timing] if args.mlir_timing else []
    if args.mlir_print_ir_before_all or args.mlir_print_ir_after_all:
        observers.append(PrintIR(args.mlir_print_ir_before_all, args.mlir_print_ir_after_all, asm=asm))

    results, failed = [], False
    for part in source.split() if args.split_input_file else [source]:
        text, diagnostics = _process(part, pipeline, args, observers, timing, asm)
        if args.verify_diagnostics:
            problems = verify_diagnostics(part, diagnostics)
        else:
            problems = [part.show(diagnostic) for diagnostic in diagnostics]
        for problem in problems:
            print(problem, file=sys.stderr)
        failed |= bool(problems) if args.verify_diagnostics else text is None
        if text is not None:
            results.append(text)
    _write("\n// -----\n".join(results), args.o)
    if args.mlir_timing:
        print(timing.table(), file=sys.stderr)
    return int(failed)


def _process(
    part: Source,
    pipeline: PassPipeline,
    args: argparse.Namespace,
    observers: Sequence[Observer],
    timing: Timing,
    asm: dict[str, bool],
) -> tuple[str | None, list[Diagnostic]]:
    """One part through the pipeline in a context of its own: the result, or None if it failed; all diagnostics."""
    store = _read_weights(args.weights)
    with context() as ctx, store.active(), collect_diagnostics(ctx) as diagnostics:
        ctx.allow_unregistered_dialects = args.allow_unregistered_dialect
        try:
            start = time.perf_counter()
            module = ir.Module.parse(part.text)
            timing.add("Parser", time.perf_counter() - start)
            pipeline.run(module, verify="each" if args.verify_each else "never", observers=observers)
            if args.weights_out:
                store.save(args.weights_out)
            return module.operation.get_asm(**asm), diagnostics
        except ir.MLIRError as error:  # the parser's; its diagnostics have been collected
            message = str(error)
        except PipelineError:
            raise
        except PassFailure as failure:
            message = str(failure)
        except MlirfuseError as error:
            message = str(error)
        if not any(diagnostic.severity == "error" for diagnostic in diagnostics):
            diagnostics.append(Diagnostic("error", message))
        return None, diagnostics


def _read_weights(paths: Sequence[str]) -> WeightStore:
    store = WeightStore()
    for path in paths:
        try:
            store.load(path)
        except Exception as error:  # the library's own kinds differ between versions
            raise MlirfuseError(f"cannot read weights from {path}: {error}") from None
    return store


def _pipeline(text: str | None, flags: Sequence[str]) -> PassPipeline:
    if text is not None and flags:
        raise PipelineError(f"--pass-pipeline and passes as flags exclude each other, but got {' '.join(flags)} too")
    with context():
        pipeline = PassPipeline.parse(text) if text is not None else PassPipeline.of(map(_element, flags))
        pipeline.check()
        return pipeline


def _element(flag: str) -> str:
    """`--name=a=1 b=2` as `name{a=1 b=2}`."""
    if not flag.startswith("--"):
        raise PipelineError(f"do not know what to do with '{flag}': one input file, and flags that start with --")
    name, _, options = flag.removeprefix("--").partition("=")
    if options.startswith("{") and options.endswith("}"):
        options = options[1:-1]
    return f"{name}{{{options}}}" if options else name


def _load(name: str) -> None:
    try:
        if not name.endswith(".py"):
            importlib.import_module(name)
            return
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        if spec is None or spec.loader is None:
            raise ImportError(f"{name} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    except Exception as error:
        raise MlirfuseError(f"cannot load module {name}: {type(error).__name__}: {error}") from error


def _listing() -> str:
    lines = []
    for name, cls in sorted(load_passes().items()):
        lines.append(f"{name}: {(cls.__doc__ or '').strip().splitlines()[0]}")
        lines += [f"    {option.name}={option.values} (default {option.default})" for option in options_of(cls)]
    return "\n".join(lines)


def _write(text: str, path: str) -> None:
    if path == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        Path(path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
