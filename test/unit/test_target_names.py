"""A target is its own modules and its facts: nothing else asks for the name of a target, a chip or a device.

So a new target takes no branch elsewhere: shared code reads what a `Device` has, or looks a stage up in a table.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlirfuse.device import CHIPS, GRAPHICS, PRODUCTS
from mlirfuse.options import known_targets

ROOT = Path(__file__).parents[2]
NVIDIA = {*CHIPS, *PRODUCTS}
# The targets that a name belongs to, and where each target's own modules are.
OWNERS = {
    **{kind: {kind} for kind in ("cpu", "cuda", "simulator", "vulkan")},
    **{name: {"cuda", "simulator"} for name in NVIDIA},
    **{name: {"vulkan"} for name in GRAPHICS},
}
OWN_MODULES = {
    "cpu": (
        "mlirfuse/targets/cpu.py",
        "mlirfuse/artifact/host_plan.py",
        "mlirfuse/runtime/host",
        "lowering/host/",
        "lowering/cpu/",
    ),
    "cuda": ("mlirfuse/targets/cuda.py", "mlirfuse/runtime/cuda/", "lowering/nvvm/"),
    "simulator": ("mlirfuse/targets/simulator.py", "mlirfuse/runtime/simulator.py", "mlirfuse/simulator/"),
    "vulkan": ("mlirfuse/targets/vulkan.py", "mlirfuse/runtime/vulkan/", "lowering/spirv/"),
}
DEVICES = "mlirfuse/device/"  # the tables of devices, and what looks a name up in them
# The tables of targets, by which a name is looked up: (module, the target's entry there).
TABLES = (
    "mlirfuse/options.py",
    "mlirfuse/targets/__init__.py",
    "mlirfuse/runtime/executor.py",
    "lowering/pipeline/backends.py",
)
CONSTANTS = {"CHIPS", "DEFAULT_CHIP", "FALLBACK_CHIP", "GRAPHICS", "PORTABLE", "PRODUCTS", "PTX_CHIPS", "PTX_PRODUCTS"}
ASKED = ("chip", "device", "target")  # attributes that hold a name, whatever they are compared with
TESTS_OF_TEXT = ("startswith", "endswith", "fullmatch", "match", "removeprefix")


def strings(node: ast.AST) -> Iterator[str]:
    """The texts in an expression, also inside tuples and sets."""
    return (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def names(node: ast.AST) -> set[str]:
    """The names of targets, chips and devices in an expression, and the constants that stand for some."""
    used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & CONSTANTS
    return {text for text in strings(node) if text in OWNERS} | used


def last_word(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def questions(tree: ast.AST) -> Iterator[tuple[int, str, set[str]]]:
    """What a module asks of a name: line, text, and the names it asks for (empty: some text or other)."""
    for node in ast.walk(tree):
        found: set[str] = set()
        asks = False
        if isinstance(node, ast.Compare):
            found = names(node)
            sides = [node.left, *node.comparators]
            named = any(isinstance(side, ast.Attribute) and side.attr in ASKED for side in sides)
            asks = named and any(True for side in sides for _ in strings(side))
        elif isinstance(node, ast.match_case):
            found = names(node.pattern)
        elif isinstance(node, ast.Call) and last_word(node.func) in TESTS_OF_TEXT:
            texts = [text for argument in node.args for text in strings(argument)]
            found = {
                name for name in OWNERS for text in texts if name.startswith(text) and (text in OWNERS or "_" in text)
            }
        elif isinstance(node, ast.Dict):
            found = set().union(*(names(key) for key in node.keys if isinstance(key, ast.Constant)))
        if found or asks:
            line = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
            yield line, ast.unparse(node).splitlines()[0], found


def is_own(path: str, name: str) -> bool:
    """Whether a module belongs to a target that `name` is of."""
    owners = OWNERS.get(name, set(OWN_MODULES))
    return any(path.startswith(prefix) for target in owners for prefix in OWN_MODULES[target])


def branches(path: str, text: str) -> list[str]:
    """The places in a module that ask for the name of a target, where it is not the module's own."""
    if path.startswith(DEVICES):
        return []
    found = []
    for line, asked, wanted in questions(ast.parse(text)):
        if wanted and all(is_own(path, name) for name in wanted):
            continue
        if not wanted and any(path.startswith(p) for own in OWN_MODULES.values() for p in own):
            continue
        if path in TABLES and asked.startswith("{"):
            continue
        found.append(f"{path}:{line}: {asked}")
    return found


def modules() -> list[Path]:
    return [path for folder in ("mlirfuse", "lowering", "dialect") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_target_has_modules_of_its_own() -> None:
    assert set(OWN_MODULES) == set(known_targets())
    for prefixes in OWN_MODULES.values():
        for prefix in prefixes:
            assert any(str(path.relative_to(ROOT)).startswith(prefix) for path in modules()), prefix


def test_no_target_is_asked_for_outside_its_modules() -> None:
    found = [where for path in modules() for where in branches(str(path.relative_to(ROOT)), path.read_text())]
    assert not found, "read a fact of the device, or add a table's entry, instead of:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        'if target.kind == "vulkan": pass',
        'x = 1 if device.kind == "cpu" else 2',
        'if device.chip != "mali-g710": pass',
        'if name in ("cuda", "simulator"): pass',
        'if options.device == "host": pass',
        "if target.chip == PORTABLE: pass",
        "if name in GRAPHICS: pass",
        'if chip.startswith("sm_9"): pass',
        'match kind:\n    case "vulkan" | "cuda": pass',
        'width = {"vulkan": 4, "cuda": 8}[kind]',
    ],
)
def test_branches_are_noticed(text: str) -> None:
    assert branches("lowering/plan/planner.py", text)


@pytest.mark.parametrize(
    "text", ["if device.has_blocks: pass", 'if ref.space == "host": pass', 'if node.op in ("conv", "pool"): pass']
)
def test_facts_may_be_asked_for(text: str) -> None:
    assert not branches("lowering/plan/planner.py", text)


def test_a_target_may_ask_for_its_own_name() -> None:
    text = 'if plan.kind == "vulkan": pass'
    assert not branches("mlirfuse/runtime/vulkan/executor.py", text)
    assert branches("mlirfuse/runtime/cuda/executor.py", text)
