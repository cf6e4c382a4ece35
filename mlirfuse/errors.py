"""What can go wrong, as one small hierarchy.

A message says what, where, expected, found and what to do, in one paragraph: the command line
prints it as it is.
"""

__all__ = [
    "ArtifactError",
    "CompilerCrash",
    "InvalidModel",
    "MlirfuseError",
    "UnsupportedOp",
    "UnsupportedTarget",
]


class MlirfuseError(Exception):
    """Base of every error that a user can cause or should see."""


class InvalidModel(MlirfuseError):
    """The ONNX file is damaged, inconsistent, or lacks something that it refers to."""


class UnsupportedOp(MlirfuseError):
    """Some nodes cannot be compiled as asked; the message names every one of them."""


class UnsupportedTarget(MlirfuseError):
    """The target is unknown, or this machine cannot run it."""


class ArtifactError(MlirfuseError):
    """An artifact is damaged, truncated, foreign, or was made for another machine."""


class CompilerCrash(MlirfuseError):
    """The compiler process died; the message holds what it last did and how to report it."""
