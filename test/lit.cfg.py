"""lit configuration: every .mlir file under test/ is a test, run against this checkout (or the package CMake linked)."""

import os
import sys
from pathlib import Path

here = Path(__file__).parent
sys.path.insert(0, str(here))
package_dir = lit_config.params.get("package_dir", str(here.parent))  # noqa: F821  lit defines it
sys.path.insert(0, package_dir)

import forking_format  # noqa: E402  the folder is only now on the path

config.name = "mlirfuse"  # noqa: F821
config.test_format = forking_format.ForkingTest()  # noqa: F821
config.suffixes = [".mlir"]  # noqa: F821
config.excludes = ["Inputs", "unit"]  # noqa: F821
config.test_source_root = str(here)  # noqa: F821
config.test_exec_root = lit_config.params.get("exec_root", str(here.parent / "build" / "test"))  # noqa: F821
launchers = Path(config.test_exec_root) / "bin"  # noqa: F821
forking_format.write_launchers(launchers, package_dir)
path = [str(launchers), str(Path(sys.executable).parent), config.environment["PATH"]]  # noqa: F821
config.environment["PATH"] = os.pathsep.join(path)  # noqa: F821
