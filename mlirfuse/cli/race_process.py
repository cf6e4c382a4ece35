"""One lap of a race: read a job (JSON) from standard input, measure, and print the result as one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    job = json.loads(sys.stdin.read())
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # before anything reads them
        os.environ.setdefault(name, str(job["threads"]))
    import numpy as np

    from mlirfuse.cli.arrays import pack_arrays, read_arrays
    from mlirfuse.cli.peers import prepare

    inputs = read_arrays(job["inputs"])
    start = time.perf_counter()
    ready = prepare(job["peer"], job["model"], inputs, job["threads"])
    ready.call()
    loaded = time.perf_counter() - start
    if job["outputs"]:
        Path(job["outputs"]).write_bytes(pack_arrays(ready.outputs()))
    samples = _measure(ready.call, job)
    p10, median, p90 = np.percentile(samples, [10, 50, 90])
    result = {
        "version": ready.version,
        "load_seconds": loaded,
        "median": median,
        "p10": p10,
        "p90": p90,
        "runs": len(samples),
    }
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    sys.stdout.flush()
    os._exit(0)  # some runtimes take seconds to leave


def _measure(call: Any, job: dict[str, Any]) -> list[float]:
    """Seconds of each call, until there are enough of them and they took long enough."""
    for _ in range(job["warmup"]):
        call()
    samples: list[float] = []
    begin = time.perf_counter()
    while len(samples) < job["most_runs"]:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        samples.append(end - start)
        if len(samples) >= job["least_runs"] and end - begin >= job["seconds"]:
            break
    return samples


if __name__ == "__main__":
    main()
