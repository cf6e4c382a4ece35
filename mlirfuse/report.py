"""The static report of a compilation: what every launch is, and what the network moves, as plain data.

`dram_*` are bytes of distinct sectors of 32 (an ideal cache within a launch, none between launches): what the reuse
analysis says of each launch's operands and results, and what the simulator counts. `global_bytes` counts every request
and needs the simulator; it is None where that did not run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlirfuse.device import Device, occupancy
from mlirfuse.dialect import attribute_value, from_attribute, type_from_mlir
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.lowering.pipeline.host_program import host_program, launches
from mlirfuse.mlir import ir

__all__ = ["build_report", "intermediate_bytes"]


def build_report(
    compilation: Any,
    module: Any,
    imported: Any,
    precision: str,
    device: Device,
    compiled: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report of a module at the kernels stage, for `device`; `compiled` adds what the assembler said of kernels."""
    program = host_program(module)
    steps = [s for s in program["steps"] if s["op"] in ("launch", "parallel")]
    ops = [op for _, op in launches(module)]
    moved = [attribute_value(op, "traffic") for op in ops]
    limits = _register_limits(module)
    rows = []
    for op, step, bytes_of in zip(ops, steps, moved, strict=True):
        known = (compiled or {}).get(step["kernel"])
        row = _row(op, step, bytes_of, known)
        rows.append({**row, **_residence(row, device, row["registers"] or limits.get(step["kernel"]))})
    hosts = [s for s in program["steps"] if s["op"] == "host"]
    traffic = _traffic(program, moved)
    totals = {
        "nodes_imported": len(imported.nodes),
        "ops": sum(len(row["ops"]) for row in rows),
        "groups": len(rows),
        "launches": len(steps) + len(hosts),
        "kernels": len({row["kernel"] for row in rows}),
        "fallback_nodes": len(hosts),
        **_copied(hosts, device),
        "copies": sum(set(row["ops"]) <= {"reshape", "concat", "slice", "transpose"} for row in rows),
        "flops": sum(row["flops"] for row in rows),
        "predicted_seconds": sum(row["predicted_seconds"] for row in rows),
        "recomputed_flops": sum(row["recomputed_flops"] for row in rows),
        "global_bytes": None,
        "dram_bytes": sum(row["dram_read_bytes"] + row["dram_write_bytes"] for row in rows),
        **traffic,
        "intermediate_bytes_unfused": compilation.unfused_bytes,
        "arena_bytes": program["arena_bytes"],
    }
    return {
        "model": imported.name,
        "target": str(compilation.target),
        "precision": precision,
        "kernels": rows,
        "totals": totals,
        "fallbacks": [node for op in _host_calls(module) for node in attribute_value(op, "onnx_nodes", ())],
        "compile_seconds": dict(compilation.seconds),
    }


def intermediate_bytes(module: ir.Module) -> int:
    """Bytes of every value that ops at the graph stage hand on, each once; outputs and weights not counted."""
    total = 0
    for function in module.body.operations:
        block = function.operation.regions[0].blocks[0]
        returned = set(list(block.operations)[-1].operation.operands)
        for op in block.operations:
            if op.operation.name in CONSTANTS:
                continue
            for result in op.operation.results:
                tensor = type_from_mlir(result.type)
                total += tensor.bytes if tensor.static and result not in returned else 0
    return total


def _row(op: Any, step: Mapping[str, Any], moved: Sequence[int], compiled: Any) -> dict[str, Any]:
    reads = len(moved) - step["results"]
    schedule = {item.name: from_attribute(item.attr) for item in ir.DictAttr(op.attributes["schedule"])}
    return {
        "name": "+".join(attribute_value(op, "onnx_nodes", ())) or step["kernel"],
        "kernel": step["kernel"],
        "ops": list(attribute_value(op, "ops")),
        "mode": attribute_value(op, "mode", "single"),
        "mapping": attribute_value(op, "mapping"),
        "schedule": schedule,
        "grid": step.get("grid", [step.get("tiles"), 1, 1]),
        "block": step.get("block", [1, 1, 1]),
        "shared_bytes": attribute_value(op, "shared_bytes"),
        "registers": None if compiled is None else compiled.registers,
        "spill_bytes": None if compiled is None else compiled.spill_bytes,
        "flops": attribute_value(op, "flops"),
        "predicted_seconds": attribute_value(op, "seconds"),
        "recomputed_flops": attribute_value(op, "recomputed_flops"),
        "global_bytes": None,
        "dram_read_bytes": sum(moved[:reads]),
        "dram_write_bytes": sum(moved[reads:]),
        "dram_intermediate_bytes": sum(
            size for ref, size in zip(step["args"], moved, strict=True) if ref["space"] == "arena"
        ),
    }


def _residence(row: Mapping[str, Any], device: Device, registers: int | None) -> dict[str, Any]:
    """How many blocks a launch has, how many of them a multiprocessor holds at once and why not more."""
    blocks = math.prod(n for n in row["grid"] if n is not None)
    found = occupancy(device, math.prod(row["block"]), row["shared_bytes"], registers)
    if found is None:
        return {"blocks": blocks, "occupancy": None, "resident_blocks": None, "occupancy_limit": None, "waves": None}
    resident = found.blocks * device.multiprocessors
    return {
        "blocks": blocks,
        "occupancy": round(found.share, 4),
        "resident_blocks": found.blocks,
        "occupancy_limit": found.limit,
        "waves": round(blocks / resident, 3) if resident else None,
    }


def _register_limits(module: ir.Module) -> dict[str, int]:
    """The registers that a thread of each kernel may have, where its schedule says."""
    found = {}
    for container in module.body.operations:
        if container.operation.name == "gpu.module":
            for op in container.operation.regions[0].blocks[0].operations:
                if (limit := attribute_value(op, "nvvm.maxnreg")) is not None:
                    found[attribute_value(op, "sym_name")] = limit
    return found


def _traffic(program: Mapping[str, Any], moved: Sequence[Sequence[int]]) -> dict[str, int]:
    """What launches move by where it lies, and what any program would have to move.

    `moved` are the bytes of each launch's arguments.
    """
    weights: dict[str, int] = {}
    inputs: dict[int, int] = {}
    outputs: dict[int, int] = {}
    stored = 0
    spaces = dict.fromkeys(("weight", "input", "output", "arena"), 0)
    of_launches = iter(moved)
    for step in program["steps"]:
        is_launch = "args" in step
        args = step["args"] if is_launch else [*step["inputs"], *step["outputs"]]
        for ref, size in zip(args, next(of_launches) if is_launch else (0,) * len(args), strict=True):
            if ref["space"] in spaces:
                spaces[ref["space"]] += size
        for i, ref in enumerate(args):
            size = ref.get("bytes", 0)
            match ref["space"]:
                case "weight":
                    weights[ref["key"]] = size
                case "input":
                    inputs[ref["index"]] = size
                case "output":
                    outputs[ref["index"]] = size
                case "arena" if i >= (len(args) - step["results"] if is_launch else len(step["inputs"])):
                    stored += size
    return {
        "dram_weight_bytes": spaces["weight"],
        "dram_input_bytes": spaces["input"],
        "dram_output_bytes": spaces["output"],
        "dram_intermediate_bytes": spaces["arena"],
        "compulsory_bytes": sum(weights.values()) + sum(inputs.values()) + sum(outputs.values()),
        "intermediate_bytes": stored,
        "weight_bytes": sum(weights.values()),
    }


def _copied(hosts: list[dict[str, Any]], device: Device) -> dict[str, int]:
    """What nodes on the host read from the device's memory and write to it; nothing where it is the host's too."""
    refs = [ref for step in hosts for ref in (*step["inputs"], *step["outputs"])]
    passed = [] if device.shares_memory else [ref for ref in refs if ref["space"] != "host"]
    return {"host_copies": len(passed), "host_copy_bytes": sum(ref.get("bytes", 0) for ref in passed)}


def _host_calls(module: ir.Module) -> list[Any]:
    found = []
    for function in module.body.operations:
        if function.operation.name == "func.func":
            found += [
                op
                for block in function.operation.regions[0]
                for op in block.operations
                if op.operation.name == "fusion.host_call"
            ]
    return found
