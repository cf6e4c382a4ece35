"""Imports point one way: a module uses its own part, and parts of the layers before it.

The bindings, LLVM and the CUDA driver are each seen by few modules, and loading an artifact needs none of the compiler.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOMES = {
    "mlirfuse.dialect": ROOT / "dialect",
    "mlirfuse.lowering": ROOT / "lowering",
    "mlirfuse.zoo": ROOT / "zoo",
    "mlirfuse": ROOT / "mlirfuse",
}
# Low to high. Parts in one row do not know each other; words joined by a space are one part.
LAYERS = [
    ["errors options device mlir files element_types subgraphs"],
    ["dialect", "zoo"],
    ["frontend", "simulator", "lowering"],
    ["artifact"],
    ["runtime"],
    ["report", "explain"],
    ["targets"],
    ["compiler worker"],
    ["tuning"],
    ["cli __main__"],
]
LOWERING = [
    ["passes"],
    ["patterns"],
    ["graph"],
    ["algebra"],
    ["classify"],
    ["profile"],
    ["groups"],
    ["plan"],
    ["schedule"],
    ["kernel"],
    ["gpu", "cpu"],
    ["codegen"],
    ["nvvm", "spirv", "host"],
    ["pipeline"],
]
NEEDS_NO_COMPILER = ("mlirfuse.artifact", "mlirfuse.runtime")
COMPILER = ("mlirfuse.mlir", "mlirfuse.dialect", "mlirfuse.lowering", "mlirfuse.frontend")
EXCEPTIONS = {("mlirfuse.mlir", "mlirfuse.dialect")}  # context() loads the dialect, which imports mlirfuse.mlir
FOREIGN = {
    "torch_mlir": ("mlirfuse.mlir",),
    "llvmlite": ("mlirfuse.lowering.codegen", "mlirfuse.lowering.nvvm", "mlirfuse.lowering.host", "mlirfuse.runtime"),
    "cuda": ("mlirfuse.runtime", "mlirfuse.device"),
    "wgpu": ("mlirfuse.runtime.vulkan",),
    "onnxruntime": ("mlirfuse.frontend", "mlirfuse.runtime", "mlirfuse.zoo", "mlirfuse.cli"),
}


def modules() -> dict[str, Path]:
    """Every module of the package by its installed name."""
    found = {}
    for package, home in HOMES.items():
        for path in sorted(home.rglob("*.py")):
            parts = path.relative_to(home).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """What a file imports, wherever in it: line and module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import with the package's full name"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield node.lineno, submodule if submodule in MODULES else str(node.module)


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def place(word: str, layers: list[list[str]]) -> tuple[int, str] | None:
    """Row and part that a word stands in."""
    return next(((i, part) for i, row in enumerate(layers) for part in row if word in part.split()), None)


def why_forbidden(module: str, imported: str) -> str | None:
    """Why `module` must not import `imported`, or None."""
    if imported in ("mlirfuse", "mlirfuse.lowering") or (module, ".".join(imported.split(".")[:2])) in EXCEPTIONS:
        return None
    here, there = module.split(".")[1:], imported.split(".")[1:]
    layers = LAYERS
    if here[0] == there[0] == "lowering":
        here, there, layers = here[1:], there[1:], LOWERING
    a, b = place(here[0], layers), place(there[0], layers)
    assert a is not None and b is not None, f"{module} or {imported} is in no layer; give it a row in this file"
    if a[1] != b[1] and b[0] >= a[0]:
        return f"{there[0]} does not come before {here[0]}"
    if is_in(module, NEEDS_NO_COMPILER) and is_in(imported, COMPILER):
        return "running an artifact must not need the compiler"
    return None


@pytest.mark.parametrize("module", [name for name in MODULES if name not in ("mlirfuse", "mlirfuse.lowering")])
def test_imports_point_one_way(module: str) -> None:
    for line, imported in imports(MODULES[module]):
        if imported.split(".")[0] == "mlirfuse":
            why = why_forbidden(module, imported)
            assert why is None, f"{MODULES[module]}:{line}: {module} imports {imported}, but {why}"


@pytest.mark.parametrize("foreign", FOREIGN)
def test_foreign_package_is_seen_by_few(foreign: str) -> None:
    for module, path in MODULES.items():
        for line, imported in imports(path):
            if imported.split(".")[0] == foreign:
                allowed = ", ".join(FOREIGN[foreign])
                assert is_in(module, FOREIGN[foreign]), f"{path}:{line}: only {allowed} may import {foreign}"


def run_blocked(code: str, *blocked: str) -> None:
    """Run code in a fresh interpreter in which some packages cannot be imported."""
    block = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); sys.path.insert(0, {str(ROOT)!r})\n"
    run = subprocess.run([sys.executable, "-c", block + code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_artifacts_load_without_compiler() -> None:
    names = [name for name in MODULES if is_in(name, NEEDS_NO_COMPILER)]
    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    run_blocked(code, "torch_mlir", "mlirfuse.lowering", "mlirfuse.dialect")


def test_package_and_runtime_import_with_numpy_alone() -> None:
    code = "import mlirfuse; mlirfuse.load; mlirfuse.MlirfuseError"
    run_blocked(code, "torch_mlir", "llvmlite", "cuda", "onnx", "onnxruntime")


def test_package_import_is_cheap() -> None:
    run_blocked("import mlirfuse; assert 'numpy' not in sys.modules")


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("mlirfuse.dialect.core", "mlirfuse.lowering.passes"),
        ("mlirfuse.simulator.kernel", "mlirfuse.lowering.gpu"),
        ("mlirfuse.lowering.plan.graph", "mlirfuse.lowering.schedule.simt"),
        ("mlirfuse.lowering.gpu.frame", "mlirfuse.lowering.cpu"),
        ("mlirfuse.runtime.executable", "mlirfuse.mlir"),
        ("mlirfuse.compiler", "mlirfuse.cli.opt"),
    ],
)
def test_wrong_direction_is_noticed(module: str, imported: str) -> None:
    assert why_forbidden(module, imported) is not None
