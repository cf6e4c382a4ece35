"""What the simulator counts of each launch, put into a report."""

from __future__ import annotations

from typing import Any

__all__ = ["count_traffic", "counts_traffic"]


def counts_traffic(artifact: Any) -> bool:
    """Whether an artifact holds kernels that the simulator can count."""
    return any(plan.kind == "simulator" for plan in artifact.plans.values())


def count_traffic(artifact: Any) -> dict[str, Any]:
    """The report of `artifact` with every launch's traffic as the simulator counts it: no arithmetic, all addresses.

    `global_bytes` are all requests in sectors of 32 bytes, `dram_*_bytes` the distinct sectors of a launch.
    """
    from mlirfuse.runtime.simulator import SimulatorExecutor

    counted = SimulatorExecutor(artifact, threads=None, device=None).count()
    rows = [
        {
            **row,
            "global_bytes": moved.global_bytes,
            "dram_read_bytes": moved.dram_read_bytes,
            "dram_write_bytes": moved.dram_write_bytes,
            "bank_conflict_factor": moved.bank_conflict_factor,
        }
        for row, (_, moved) in zip(artifact.report["kernels"], counted, strict=True)
    ]
    totals = {
        **artifact.report["totals"],
        "global_bytes": sum(row["global_bytes"] for row in rows),
        "dram_bytes": sum(row["dram_read_bytes"] + row["dram_write_bytes"] for row in rows),
    }
    return {**artifact.report, "kernels": rows, "totals": totals}
