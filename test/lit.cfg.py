"""lit configuration: every .mlir file under test/ is a test of this checkout (or of the package that CMake linked)."""

import os
import sys
from pathlib import Path

here = Path(__file__).parent
sys.path.insert(0, str(here))
package_dir = lit_config.params.get("package_dir", str(here.parent))
sys.path.insert(0, package_dir)

import forking_format

config.name = "mlirfuse"
config.test_format = forking_format.ForkingTest()
config.suffixes = [".mlir"]
config.excludes = ["Inputs", "unit"]
config.test_source_root = str(here)
config.test_exec_root = lit_config.params.get("exec_root", str(here.parent / "build" / "test"))
launchers = Path(config.test_exec_root) / "bin"
forking_format.write_launchers(launchers, package_dir)
path = [str(launchers), str(Path(sys.executable).parent), config.environment["PATH"]]
config.environment["PATH"] = os.pathsep.join(path)
