"""The compiled network as data and as one file: programs, kernels, weights and recipes. Needs numpy alone."""

from mlirfuse.artifact.bundle import Artifact, Weight
from mlirfuse.artifact.host_plan import host_plan
from mlirfuse.artifact.plan import Image, Kernel, Plan
from mlirfuse.artifact.program import Copy, HostCall, Launch, Parallel, Program, Ref, Step, TensorSpec
from mlirfuse.artifact.recipes import Recipe, apply_steps

__all__ = [
    "Artifact",
    "Copy",
    "HostCall",
    "Image",
    "Kernel",
    "Launch",
    "Parallel",
    "Plan",
    "Program",
    "Recipe",
    "Ref",
    "Step",
    "TensorSpec",
    "Weight",
    "apply_steps",
    "host_plan",
]
