"""From kernels in `gpu.func` form to SPIR-V shader modules for Vulkan, through upstream passes."""
