"""`python -m mlirfuse`: the command line."""

import sys

from mlirfuse.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
