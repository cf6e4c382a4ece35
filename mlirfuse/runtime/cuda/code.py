"""Which plan suits a GPU, and its kernels loaded."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mlirfuse.artifact import Artifact, Image, Launch, Plan
from mlirfuse.device import usable_cores
from mlirfuse.errors import UnsupportedTarget
from mlirfuse.runtime.cuda.context import Context

__all__ = ["LoadedKernel", "best_plan", "load_kernels"]

_LOG_BYTES = 8192
_STATIC_LIMIT = 48 * 1024  # dynamic shared memory beyond this must be asked for


@dataclass(frozen=True)
class LoadedKernel:
    """A function on the GPU and the shared memory it declares statically."""

    function: Any
    static_shared_bytes: int
    module: Any  # keeps the code loaded


def best_plan(artifact: Artifact, capability: tuple[int, int], shared_limit: int | None = None) -> tuple[str, Plan]:
    """The newest plan that the GPU runs: "sm_90" on 9.0 and later, "sm_90a" on 9.0 alone, "sm_100f" on all of 10.x.

    Not every later GPU has as much shared memory: a plan whose blocks need no more than `shared_limit` goes first.
    """
    major, minor = capability
    suited = []
    plans = {arch: plan for arch, plan in artifact.plans.items() if plan.kind == "cuda"}
    for arch, plan in plans.items():
        found = re.fullmatch(r"sm_(\d+)(\d)([af]?)", arch)
        if found is None:
            continue
        wanted, suffix = (int(found[1]), int(found[2])), found[3]
        runs = {"": wanted <= capability, "a": wanted == capability, "f": wanted[0] == major and wanted[1] <= minor}
        fits = shared_limit is None or _most_shared(plan) <= shared_limit
        if runs[suffix]:
            suited.append((fits, wanted, "fa".find(suffix) + 1 if suffix else 0, arch, plan))
    if not suited:
        raise UnsupportedTarget(
            f"The artifact of '{artifact.model}' has plans for {', '.join(plans) or 'no GPU'}, and this GPU is "
            f"sm_{major}{minor}: compile the model with target 'cuda:sm_{major}{minor}' or an older one."
        )
    _, _, _, arch, plan = max(suited, key=lambda entry: entry[:3])
    return arch, plan


def _most_shared(plan: Plan) -> int:
    """Bytes of the launch whose blocks take most."""
    return max((step.shared_bytes for step in plan.program.steps if isinstance(step, Launch)), default=0)


def load_kernels(context: Context, arch: str, plan: Plan) -> dict[str, LoadedKernel]:
    """Every kernel that the plan's program launches; the context must be current.

    The driver assembles PTX when it loads it, which takes most of the time, so images load side by side.
    """
    exact = re.fullmatch(rf"sm_{context.capability[0]}{context.capability[1]}[af]?", arch) is not None
    formats = ("cubin", "ptx") if exact else ("ptx",)
    images = {name: plan.image(name, *formats) for name in plan.program.kernels()}
    distinct = {id(image): (image, name) for name, image in reversed(images.items())}

    def load(image: Image, name: str) -> _Module:
        with context.current():  # of the worker thread
            return _Module(context, image, name)

    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        modules = dict(zip(distinct, pool.map(lambda entry: load(*entry), distinct.values()), strict=True))
    shared: dict[str, int] = {}
    for step in plan.program.steps:
        if isinstance(step, Launch):
            shared[step.kernel] = max(step.shared_bytes, shared.get(step.kernel, 0))
    return {
        name: _function(context, modules[id(image)], name, plan.kernels[name].symbol, shared.get(name, 0))
        for name, image in images.items()
    }


class _Module:
    """Loaded code, unloaded with the last kernel that refers to it."""

    def __init__(self, context: Context, image: Image, kernel: str) -> None:
        driver, option = context.driver, context.driver.api.CUjit_option
        log = bytearray(_LOG_BYTES)
        code = bytes(image.data) + (b"\0" if image.format == "ptx" else b"")
        options = [option.CU_JIT_ERROR_LOG_BUFFER, option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES]
        status, handle = driver.api.cuModuleLoadDataEx(code, len(options), options, [log, _LOG_BYTES])
        if status:
            said = bytes(log).split(b"\0")[0].decode(errors="replace")
            raise driver.error("cuModuleLoadDataEx", status, f"Kernel '{kernel}' ({image.format}). {said}")
        self.handle = handle
        context.on_collect(self, "cuModuleUnload", handle)


def _function(context: Context, module: _Module, name: str, symbol: str, shared_bytes: int) -> LoadedKernel:
    driver, attribute = context.driver, context.driver.api.CUfunction_attribute
    function = driver.call("cuModuleGetFunction", module.handle, symbol.encode())
    driver.call("cuFuncLoad", function)  # lazy loading must not happen while a graph is being captured
    static = driver.call("cuFuncGetAttribute", attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function)
    if max(static, shared_bytes) > context.max_shared_bytes:
        raise UnsupportedTarget(
            f"The kernel '{name}' needs {max(static, shared_bytes)} bytes of shared memory, and a block on "
            f"{context.name} has at most {context.max_shared_bytes}: compile the model for it, with target 'cuda'."
        )
    dynamic = max(0, shared_bytes - static)
    if static + dynamic > _STATIC_LIMIT and dynamic:
        driver.call("cuFuncSetAttribute", function, attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, dynamic)
    return LoadedKernel(function, static, module)
