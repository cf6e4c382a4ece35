"""A fire module as a group, and schedules of several stages for GPUs."""

from group_builder import GroupBuilder

from mlirfuse.device import device_for
from mlirfuse.lowering.schedule.cross_layer import CrossLayerPlan
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, TeamTiles
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles

__all__ = ["DEVICE", "POINT", "SMALL", "TEAM", "fire", "scheduled"]

DEVICE = device_for("sm_90")
SMALL = ContractTiles(64, 32, 8, 4, 4)
POINT = MapTiles(128)
TEAM = TeamTiles(128)


def fire(channels=16, squeeze=8, expand=12, height=10, width=12):
    b = GroupBuilder()
    x, bias = b.input(1, channels, height, width), b.input(1, squeeze, 1, 1)
    squeezed = b.op("binary", b.conv(x, b.input(squeeze, channels, 1, 1)), bias, kind="add")
    squeezed = b.op("unary", squeezed, kind="relu")
    one = b.op("unary", b.conv(squeezed, b.input(expand, squeeze, 1, 1)), kind="relu")
    three = b.op("unary", b.conv(squeezed, b.input(expand, squeeze, 3, 3), pads=(1, 1, 1, 1)), kind="relu")
    return b.group(b.op("concat", one, three, axis=1))


def scheduled(group, tile, like, cluster=1, walk=1):
    """Every stage as `like`, where that suits it; else one thread an element."""
    schedules = []
    for stage in CrossLayerPlan(group, tile, (), cluster, walk).groups:
        suits = like is POINT or like.why_illegal(stage, DEVICE) is None
        schedules.append(like if suits else POINT)
    return CrossLayerTiles(128, tile, tuple(schedules), cluster=cluster, walk=walk)
