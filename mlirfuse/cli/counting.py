"""What the simulator counts of each launch, put into a report."""

from __future__ import annotations

from typing import Any

__all__ = ["count_traffic"]


def count_traffic(artifact: Any) -> dict[str, Any]:
    """The report of `artifact`, and where it is for the simulator, every launch's traffic as that counts it.

    There is no arithmetic, only addresses.
    `global_bytes` are all requests in sectors of 32 bytes, `dram_*_bytes` the distinct sectors of a launch.
    """
    from mlirfuse.runtime.simulator import SimulatorExecutor, holds_kernels_to_count

    if not holds_kernels_to_count(artifact):
        return artifact.report
    executor = SimulatorExecutor(artifact, threads=None, device=None)
    counted = executor.count()
    rows = []
    spaces = dict.fromkeys(("weight", "input", "output", "arena"), 0)
    for row, step, (_, moved) in zip(artifact.report["kernels"], executor.launches, counted, strict=True):
        own = dict.fromkeys(spaces, 0)
        for ref, size in zip(step.args, moved.argument_bytes, strict=True):
            own[ref.space] += size
            spaces[ref.space] += size
        rows.append({
            **row,
            "global_bytes": moved.global_bytes,
            "dram_read_bytes": moved.dram_read_bytes,
            "dram_write_bytes": moved.dram_write_bytes,
            "dram_intermediate_bytes": own["arena"],
            "bank_conflict_factor": moved.bank_conflict_factor,
        })  # fmt: skip
    totals = {
        **artifact.report["totals"],
        "global_bytes": sum(row["global_bytes"] for row in rows),
        "dram_bytes": sum(row["dram_read_bytes"] + row["dram_write_bytes"] for row in rows),
        "dram_weight_bytes": spaces["weight"],
        "dram_input_bytes": spaces["input"],
        "dram_output_bytes": spaces["output"],
        "dram_intermediate_bytes": spaces["arena"],
    }
    return {**artifact.report, "kernels": rows, "totals": totals}
