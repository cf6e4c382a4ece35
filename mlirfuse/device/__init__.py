"""What a device can do, as data: limits and rates of GPUs from tables (`device_for`), this CPU's from the machine."""

from mlirfuse.device.cpu import ANY_CPU, host_device, usable_cores
from mlirfuse.device.facts import Device
from mlirfuse.device.graphics import GRAPHICS, PORTABLE
from mlirfuse.device.lookup import device_for, planning_device, product, scheduling_device
from mlirfuse.device.nvidia import CHIPS, PRODUCTS, PTX_CHIPS, PTX_PRODUCTS
from mlirfuse.device.occupancy import Occupancy, occupancy

__all__ = [
    "ANY_CPU",
    "CHIPS",
    "GRAPHICS",
    "PORTABLE",
    "PRODUCTS",
    "PTX_CHIPS",
    "PTX_PRODUCTS",
    "Device",
    "Occupancy",
    "device_for",
    "host_device",
    "occupancy",
    "planning_device",
    "product",
    "scheduling_device",
    "usable_cores",
]
