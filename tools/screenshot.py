"""Write docs/explain.png: the page of `mlirfuse explain --html` for SqueezeNet, with a group chosen.

python tools/screenshot.py
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from headless_browser import INSTALL, Browser, executable

from mlirfuse.cli.main import main as mlirfuse

FILE = Path(__file__).parents[1] / "docs" / "explain.png"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="zoo:light/squeezenet", help="what to explain (default %(default)s)")
    parser.add_argument(
        "--click", default='#after [data-id="group 3"] rect', help="what to click (default %(default)s)"
    )
    parser.add_argument("-o", "--output", type=Path, default=FILE, help="the file to write (default docs/explain.png)")
    args = parser.parse_args()
    if executable() is None:
        print(INSTALL, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, Browser(width=1200, height=720) as browser:
        page = Path(folder) / "page.html"
        status = mlirfuse(["explain", args.model, "--html", str(page), "--json", str(Path(folder) / "page.json")])
        if status:
            return status
        browser.open(page)
        browser.click(args.click)
        args.output.write_bytes(browser.screenshot())
    print(f"{args.output}: {args.output.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
