"""Write docs/reference from what the code says of itself: the ops of the dialect and the passes.

`python tools/generate_docs.py` writes; with `--check` it only says which files are stale, and fails if any is.
"""

import collections.abc
import inspect
import json
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import mlirfuse.dialect  # noqa: E402  the checkout need not be installed
from mlirfuse.lowering.algebra.generate import PAPER_COUNTS, RULES, count_by_family  # noqa: E402
from mlirfuse.lowering.algebra.rule import FAMILIES, Rule  # noqa: E402
from mlirfuse.lowering.passes import Pass, load_passes, options_of  # noqa: E402
from mlirfuse.lowering.passes.registry import anchor_of  # noqa: E402
from mlirfuse.mlir import ext, ir  # noqa: E402

__all__ = ["main", "pages"]

NOTICE = "<!-- Written by tools/generate_docs.py; change the docstrings instead. -->"
Row = tuple[str, str, str]


def pages() -> dict[Path, str]:
    """Every generated page by its place."""
    folder = ROOT / "docs" / "reference"
    return {
        folder / "ops.md": ops_page(),
        folder / "passes.md": passes_page(),
        folder / "rewrites.md": rewrites_page(),
    }


REWRITES_INTRO = """Equations that `fusion-rewrite-algebra` uses from left to right, where that lowers FLOPs, or else
bytes read, or else the number of operations. All are generated from the properties of functions in
`lowering/algebra/properties.py`; a test computes both sides of each on random shapes and types, and finds each applied
to a graph.

A rule has a class for floats, and one for integers or booleans, which wrap. *exact* gives the same bits.
*reassociating* holds for all finite operands, but for rounding, the sign of a zero, and what overflows on the way.
*domain-changing* holds where both sides are defined, but one is defined for more operands, or ignores one.
`CompileOptions.rewrite` (`--rewrite`) chooses: `exact` allows the first, `reassociating` (the default) the first two,
`all` all three. Chains of one associative operation match in any order; among floats that alone makes an application
reassociating. `Kept(C)` is C without the axes that a reduction takes away."""


def rewrites_page() -> str:
    """The rules of graph rewriting, family by family, and how many there are."""
    counts = count_by_family()
    rows = [(family, str(counts[family]), str(PAPER_COUNTS[family])) for family in FAMILIES]
    rows.append(("all", str(sum(counts.values())), str(sum(PAPER_COUNTS.values()))))
    sections = [f"## {family.capitalize()}\n\n{rule_table(family)}" for family in FAMILIES]
    head = table(("family", "rules here", "in DNNFusion (Niu et al., PLDI 2021)"), rows)
    return "\n\n".join(["# Rules of graph rewriting", NOTICE, REWRITES_INTRO, head, *sections]) + "\n"


def rule_table(family: str) -> str:
    return table(("rule", "floats", "integers, booleans"), (rule_row(r) for r in RULES if r.family == family))


def rule_row(rule: Rule) -> Row:
    wrapping = rule.integers if rule.integers is not None else rule.booleans
    floats, others = ("" if c is None else c.text for c in (rule.floats, wrapping))
    where = f" where {', '.join(rule.where)}" if rule.where else ""
    return f"`{rule.equation}`{where}", floats, others


def ops_page() -> str:
    ops = {cls.OPERATION_NAME: cls for cls in vars(mlirfuse.dialect).values() if hasattr(cls, "OPERATION_NAME")}
    intro = inspect.getdoc(mlirfuse.dialect.Fusion) or ""
    sections = [op_section(name, cls) for name, cls in sorted(ops.items())]
    return "\n\n".join(["# Operations of the `fusion` dialect", NOTICE, intro, *sections]) + "\n"


def op_section(name: str, cls: Any) -> str:
    parts = [f"## `{name}`", inspect.getdoc(cls) or ""]
    if mapping := getattr(cls, "mapping_type", ""):
        parts.append(f"Mapping type: {mapping}.")
    parts.append(table(("name", "is", "type"), fields(cls)))
    return "\n\n".join(filter(None, parts))


def fields(cls: Any) -> Iterator[Row]:
    """Operands, attributes, results and regions, as the class declares them."""
    for name, hint in typing.get_type_hints(cls).items():
        if name not in vars(cls).get("__annotations__", {}):
            continue
        count, inner = multiplicity(hint)
        kind, type_ = describe(inner)
        yield f"`{name.rstrip('_')}`", f"{kind}{count}", type_


def multiplicity(hint: Any) -> tuple[str, Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is collections.abc.Sequence:
        return ", any number", args[0]
    if origin in (typing.Union, types.UnionType) and types.NoneType in args:
        return ", optional", next(arg for arg in args if arg is not types.NoneType)
    return "", hint


def describe(hint: Any) -> tuple[str, str]:
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is ext.Region:
        return "region", ""
    for cls, kind in ((ir.OpResult, "result"), (ir.Value, "operand")):
        if inspect.isclass(origin) and issubclass(origin, cls):
            return kind, " ".join(type_name(arg) for arg in args)
    return "attribute", type_name(hint)


def type_name(hint: Any) -> str:
    return "any" if hint is Any else f"`{getattr(hint, '__name__', str(hint))}`"


def passes_page() -> str:
    sections = [pass_section(name, cls) for name, cls in sorted(load_passes().items()) if is_ours(cls)]
    intro = "They run as flags of `mlirfuse-opt` or in `--pass-pipeline=builtin.module(...)`, mixed with MLIR's own."
    return "\n\n".join(["# Passes", NOTICE, intro, *sections]) + "\n"


def pass_section(name: str, cls: Callable[..., Pass]) -> str:
    rows = ((f"`{option.name}`", f"`{option.values}`", f"`{json.dumps(option.default)}`") for option in options_of(cls))
    parts = [f"## `{name}`", inspect.getdoc(cls) or "", table(("option", "values", "default"), rows)]
    if (anchor := anchor_of(cls)) != "builtin.module":
        parts.insert(2, f"Runs on `{anchor}`.")
    return "\n\n".join(filter(None, parts))


def is_ours(cls: Callable[..., Pass]) -> bool:
    return cls.__module__.startswith("mlirfuse.")


def table(head: Row, rows: collections.abc.Iterable[Row]) -> str:
    """A Markdown table, or nothing where there are no rows."""
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---|---|---|", *lines]) if lines else ""


def main(argv: list[str]) -> int:
    stale = [(path, text) for path, text in pages().items() if not path.is_file() or path.read_text() != text]
    if "--check" in argv:
        for path, _ in stale:
            print(f"{path.relative_to(ROOT)} is stale; run `make docs`", file=sys.stderr)
        return int(bool(stale))
    for path, text in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
