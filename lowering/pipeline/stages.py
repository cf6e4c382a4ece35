"""The stages of a compilation as named pass pipelines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["STAGES", "StageOptions", "pipeline_for"]

STAGES = ("graph", "planned", "scheduled", "kernels")


@dataclass(frozen=True)
class StageOptions:
    """What the passes need to know of a compilation.

    `device` is the chip that plans and schedules are for (or host), `layout` the memory order of spatial tensors (nchw,
    nhwc, chwn). `database` is a profile database that planning reads ("" for none), `threads` the CPU threads that its
    measurements are looked up for (0: every core).
    """

    device: str = "host"
    layout: str = "nhwc"
    fusion: str = "full"
    rewrite: str = "reassociating"
    no_fuse: tuple[str, ...] = ()
    force_fuse: tuple[tuple[str, ...], ...] = ()
    database: str = ""
    threads: int = 0


def pipeline_for(stage: str, options: StageOptions) -> str:
    """The pipeline that takes a module from the stage before to `stage`."""
    return f"builtin.module({','.join(_PASSES[stage](options))})"


_CONCATS = ("fusion-nest-concats", "fusion-move-past-concats")


def _rewriting(options: StageOptions) -> list[str]:
    """Graph rewriting; `rewrite` says how much it may change numbers."""
    clean = ["canonicalize", "cse"]
    if options.rewrite == "none":
        return clean
    algebra = f"fusion-rewrite-algebra{_options(allow=options.rewrite)}"
    if options.rewrite == "exact":
        identities = "fusion-remove-identities{exact=true}"
        folding = ["fusion-fold-constants", identities]
        return [*folding, algebra, *folding, *_CONCATS, *clean]
    folding = ["fusion-fold-constants", "fusion-remove-identities"]
    scaling = ["fusion-fold-scale", "fusion-remove-identities"]
    return [
        *folding,
        "fusion-recognize-rows",
        *scaling,
        algebra,  # whole rows are recognised by then
        "fusion-fold-constants",
        *scaling,
        *_CONCATS,
        *clean,
    ]


def _joining(options: StageOptions) -> list[str]:
    """What reads one value alike is computed at once, where anything is rewritten and fused at all."""
    if options.rewrite == "none" or options.fusion == "none":
        return []
    return [f"fusion-join-siblings{_options(no_fuse=_json(options.no_fuse), device=options.device)}", "canonicalize"]


def _planning(options: StageOptions) -> list[str]:
    given = {"fusion": options.fusion, "no_fuse": _json(options.no_fuse), "force_fuse": _json(options.force_fuse)}
    plan = _options(**{**given, "device": options.device, **_measured(options)})
    keep = _options(keep=_json([name for names in options.force_fuse for name in names]))
    return [
        *_rewriting(options),
        *_joining(options),
        "fusion-classify",
        "fusion-materialize-outputs",
        f"fusion-elide-concats{keep}",
        "fusion-duplicate-movement",
        "fusion-classify",
        f"fusion-plan{plan}",
        "fusion-form-groups",
        "fusion-fuse",
    ]


def _scheduling(options: StageOptions) -> list[str]:
    return [
        f"fusion-assign-layouts{_options(layout=options.layout)}",
        f"fusion-schedule{_options(**{'device': options.device, **_measured(options), 'layout': None})}",
        "fusion-assign-buffers",
    ]


def _kernels(options: StageOptions) -> list[str]:
    return [f"fusion-emit-kernels{_options(device=options.device)}"]


_PASSES: Mapping[str, Any] = {"planned": _planning, "scheduled": _scheduling, "kernels": _kernels}


def _json(names: Sequence[Any]) -> str | None:
    return json.dumps(names) if names else None


def _measured(options: StageOptions) -> dict[str, str | None]:
    """Where planning finds measurements, and which of them hold."""
    if not options.database:
        return {}
    threads = str(options.threads) if options.threads else None
    return {"database": options.database, "device": options.device, "threads": threads, "layout": options.layout}


def _options(**given: str | None) -> str:
    """Pass options as pipelines spell them; what is None is left out."""
    pairs = [f"{name.replace('_', '-')}={_quoted(value)}" for name, value in given.items() if value]
    return f"{{{' '.join(pairs)}}}" if pairs else ""


def _quoted(value: str) -> str:
    if not any(c.isspace() or c in "[]{},()'\"" for c in value):
        return value
    return f'"{value}"' if "'" in value and '"' not in value else f"'{value}'"
