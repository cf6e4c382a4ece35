"""The command-line tools: `mlirfuse` (main.py) and the pass driver `mlirfuse-opt` (opt.py)."""
