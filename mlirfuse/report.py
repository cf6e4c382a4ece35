"""The static report of a compilation: what every launch is, and what the network moves, as plain data.

Bytes follow from the program: a launch reads each of its operands and writes each of its results once
(`dram_*`: an ideal cache within the launch, none between launches). `global_bytes` counts every request and needs the
simulator; it is None where that did not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlirfuse.dialect import attribute_value, from_attribute, type_from_mlir
from mlirfuse.dialect.core import CONSTANTS
from mlirfuse.lowering.pipeline.host_program import host_program, launches
from mlirfuse.mlir import ir

__all__ = ["build_report", "intermediate_bytes"]


def build_report(
    compilation: Any, module: Any, imported: Any, precision: str, compiled: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The report of a module at the kernels stage; `compiled` adds what the assembler said of each kernel."""
    program = host_program(module)
    steps = [s for s in program["steps"] if s["op"] in ("launch", "parallel")]
    rows = [
        _row(op, step, (compiled or {}).get(name)) for (name, op), step in zip(launches(module), steps, strict=True)
    ]
    hosts = [s for s in program["steps"] if s["op"] == "host"]
    traffic = _traffic(program)
    totals = {
        "nodes_imported": len(imported.nodes),
        "ops": sum(len(row["ops"]) for row in rows),
        "groups": len(rows),
        "launches": len(steps) + len(hosts),
        "kernels": len({row["kernel"] for row in rows}),
        "fallback_nodes": len(hosts),
        "copies": sum(set(row["ops"]) <= {"reshape", "concat", "slice", "transpose"} for row in rows),
        "flops": sum(row["flops"] for row in rows),
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


def _row(op: Any, step: Mapping[str, Any], compiled: Any) -> dict[str, Any]:
    written = _written(step)
    reads = sum(ref["bytes"] for i, ref in enumerate(step["args"]) if i not in written)
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
        "global_bytes": None,
        "dram_read_bytes": reads,
        "dram_write_bytes": sum(step["args"][i]["bytes"] for i in written),
    }


def _written(step: Mapping[str, Any]) -> list[int]:
    """Positions of the arguments that a launch writes: its last ones."""
    return list(range(len(step["args"]) - step["results"], len(step["args"])))


def _traffic(program: Mapping[str, Any]) -> dict[str, int]:
    """Weights, intermediates, and what any program would have to move."""
    weights: dict[str, int] = {}
    weight_reads = intermediate = 0
    stored: dict[tuple[str, int, int], int] = {}
    inputs: dict[int, int] = {}
    outputs: dict[int, int] = {}
    for step in program["steps"]:
        args = step["args"] if "args" in step else [*step["inputs"], *step["outputs"]]
        written = set(_written(step)) if "args" in step else set(range(len(step["inputs"]), len(args)))
        for i, ref in enumerate(args):
            size = ref.get("bytes", 0)
            match ref["space"]:
                case "weight":
                    weights[ref["key"]] = size
                    weight_reads += size
                case "input":
                    inputs[ref["index"]] = size
                case "output":
                    outputs[ref["index"]] = size
                case "arena":
                    intermediate += size
                    if i in written:
                        stored[ref["offset"], size, len(stored)] = size
    return {
        "dram_weight_bytes": weight_reads,
        "dram_intermediate_bytes": intermediate,
        "compulsory_bytes": sum(weights.values()) + sum(inputs.values()) + sum(outputs.values()),
        "intermediate_bytes": sum(stored.values()),
        "weight_bytes": sum(weights.values()),
    }


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
