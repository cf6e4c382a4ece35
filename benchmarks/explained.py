"""What `mlirfuse explain` tells of SqueezeNet's first fire module, as docs/fusion.md shows it.

    python benchmarks/explained.py            # print it
    python benchmarks/explained.py --readme   # write it into docs/fusion.md

Planned and scheduled, not run: times are those of the cost model.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

from measured import write_block

from mlirfuse.cli.main import main as mlirfuse

PAGE = Path(__file__).parent.parent / "docs" / "fusion.md"
COMMANDS = (  # the module by itself, and its part in the network
    ("explain", "zoo:blocks/fire", "--target", "cuda:h200", "--group", "0"),
    ("explain", "zoo:light/squeezenet", "--target", "cuda:h200", "--node", "n5"),
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readme", action="store_true", help="write it into docs/fusion.md")
    args = parser.parse_args(argv)
    text = "\n".join(
        line for command in COMMANDS for line in ("```", f"$ mlirfuse {' '.join(command)}", *told(command), "```")
    )
    if args.readme:
        write_block(PAGE, "explained.py", text)
    else:
        print(text)
    return 0


def told(command: Sequence[str]) -> list[str]:
    """The lines about the kernel; those about its edges, one by one, are left out."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        if status := mlirfuse(list(command)):
            raise SystemExit(status)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    end = next(i for i, line in enumerate(lines) if line.endswith(("edge fused", "edges fused")))
    return [line for line in lines[:end] if line]


if __name__ == "__main__":
    raise SystemExit(main())
