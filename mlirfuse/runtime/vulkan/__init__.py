"""Runs networks through Vulkan (the `wgpu` package), on the GPUs of every vendor and on software drivers."""

from mlirfuse.runtime.vulkan.executor import VulkanExecutor

__all__ = ["VulkanExecutor"]
