"""`mlirfuse VERB MODEL`: compile, run, explain, measure and check ONNX networks from the shell."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import mlirfuse
from mlirfuse.errors import MlirfuseError

__all__ = ["main"]

# Each verb is a module of this package with HELP, add_arguments(parser) and execute(args) -> exit status.
VERBS = ("run", "compile", "explain", "report", "bench", "check", "diff", "tune", "zoo")
EPILOG = "MODEL is an .onnx file, an .mlirfuse artifact, or zoo:NAME (`mlirfuse zoo` lists the names)."
INTERRUPTED = 130
BROKEN_PIPE = 141  # as a shell reports a program that SIGPIPE ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb: 0 on success, 1 on a user error (one paragraph on standard error), 2 on bad usage."""
    args = _parser().parse_args(argv)
    try:
        status = args.execute(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Python flushes standard output once more at exit; there is nobody to read it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except MlirfuseError as error:
        return _complain(str(error))
    except MemoryError:
        return _complain("There is not enough memory for this model on this machine.")
    except OSError as error:
        return _complain(f"{error.filename or 'A file'}: {error.strerror or error}.")


def _complain(message: str) -> int:
    print(f"mlirfuse: error: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mlirfuse", description=__doc__, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"mlirfuse {mlirfuse.__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name in VERBS:
        verb = import_module(f"mlirfuse.cli.{name}")
        sub = verbs.add_parser(name, help=verb.HELP, description=verb.HELP, epilog=EPILOG, allow_abbrev=False)
        verb.add_arguments(sub)
        sub.set_defaults(execute=verb.execute)
    return parser


if __name__ == "__main__":
    sys.exit(main())
