"""Modules that these tests share with the tools and with the tests of the command line."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "test" / "unit" / "cli")]
