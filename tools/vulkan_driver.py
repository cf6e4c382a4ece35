"""Say which Vulkan driver runs the shaders of the tests, or how to get one.

    python tools/vulkan_driver.py

Exit status 0 either way: without a driver, the tests that need one are skipped.
"""

from __future__ import annotations


def main() -> int:
    print(found())
    return 0


def found() -> str:
    """One line on the first driver, or on what is missing."""
    skipped = "the tests that run shaders are skipped"
    try:
        from mlirfuse.runtime.vulkan.device import adapters
    except ImportError:
        return f"Vulkan: wgpu is not installed, so {skipped}; pip install 'mlirfuse[vulkan]' brings it."
    if not (drivers := adapters()):
        return (
            f"Vulkan: there is no driver, so {skipped}. Mesa's software driver will do: "
            f"apt-get install mesa-vulkan-drivers (Debian, Ubuntu), dnf install mesa-vulkan-drivers (Fedora)."
        )
    return f"Vulkan: the tests run shaders on {drivers[0].info['device']} ({drivers[0].info['description']})."


if __name__ == "__main__":
    raise SystemExit(main())
