"""There is one kernel generator: kernels are opened in the two frames, and their bodies come from tile programs."""

import ast
from pathlib import Path

import mlirfuse.lowering

ROOT = Path(mlirfuse.lowering.__file__).parent
FRAMES = {"gpu/frame.py", "cpu/frame.py"}


def modules():
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.rglob("*.py"))}


def test_kernels_are_opened_in_the_frames_alone():
    """No other module writes a gpu.func or creates a function for a kernel."""
    opening = {
        name
        for name, text in modules().items()
        for node in ast.walk(ast.parse(text))
        if (isinstance(node, ast.Constant) and isinstance(node.value, str) and "gpu.func @{" in node.value)
        or (isinstance(node, ast.JoinedStr) and "gpu.func @" in ast.unparse(node) and "gpu.return" in ast.unparse(node))
        or (isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("GPUFuncOp", "FuncOp")))
    }
    assert {name for name in opening if name.split("/")[0] in ("gpu", "cpu", "kernel", "pipeline")} == FRAMES


def test_frames_are_used_by_the_emitters_alone():
    users = {
        name
        for name, text in modules().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name) and node.id == "kernel_frame"
    }
    assert users == {"gpu/emit.py", "cpu/emit.py"}


def test_emitters_start_from_a_tile_program():
    for emitter in ("gpu/emit.py", "cpu/emit.py"):
        tree = ast.parse((ROOT / emitter).read_text())
        emit = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "emit_kernel")
        first = emit.args.args[0]
        assert first.annotation is not None and ast.unparse(first.annotation) == "TileProgram"
