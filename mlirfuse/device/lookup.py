"""Which device a chip, a product or a driver's name stands for."""

import re
from dataclasses import replace

from mlirfuse.device.cpu import ANY_CPU, host_device
from mlirfuse.device.facts import Device
from mlirfuse.device.graphics import GRAPHICS
from mlirfuse.device.nvidia import CHIPS, PRODUCTS
from mlirfuse.errors import UnsupportedTarget


def device_for(chip: str) -> Device:
    """The device that stands for `chip` ("sm_90", "sm_90a"), or the product of that name ("h200", "mali-g710").

    Raises UnsupportedTarget naming what is known.
    """
    if chip in GRAPHICS:
        return GRAPHICS[chip]
    base = re.sub(r"(?<=\d)[af]$", "", chip)
    if chip not in PRODUCTS and base not in CHIPS:
        known = ", ".join([*CHIPS, *PRODUCTS, *GRAPHICS])
        raise UnsupportedTarget(f"The GPU '{chip}' is not in the device tables; known are {known}.")
    return PRODUCTS[chip] if chip in PRODUCTS else PRODUCTS[CHIPS[base]]


def product(name: str, capability: tuple[int, int]) -> Device | None:
    """The device a driver calls `name`, else the nearest older chip's limits under that name; None if too old."""
    for device in PRODUCTS.values():
        if device.capability == capability and (name in device.name or device.name in name):
            return device
    older = [d for d in map(device_for, CHIPS) if d.capability <= capability]
    return replace(max(older, key=lambda d: d.capability), name=name) if older else None


def planning_device(chip: str) -> Device:
    """The device that fusion is planned for: `device_for(chip)`, and for "host" one CPU that stands for all.

    What this machine's CPU is decides schedules, not groups: the same model and options give the same plan everywhere.
    """
    return ANY_CPU if chip == "host" else device_for(chip)


def scheduling_device(chip: str) -> Device:
    """The device that kernels are made for: `device_for(chip)`, and for "host" the CPU of this machine."""
    return host_device() if chip == "host" else device_for(chip)
