"""The tiles of a group that a search looks at."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mlirfuse.device import Device
from mlirfuse.lowering.groups.lines import WALKED
from mlirfuse.lowering.groups.stages import Stages
from mlirfuse.lowering.groups.work import is_depthwise

__all__ = ["all_tiles", "count_of", "sensible_tiles", "walks_tried"]

IDLE = 16  # tiles are not tried if they keep fewer than one multiprocessor in so many busy,
CROWD = 8  # or are more than so many for each
MOST_TILES = 64  # for each core of a CPU, to which tiles are handed one by one
FEWEST_WALKED = 4  # tiles along the dimension of a walk: of fewer, most meet a border
MOST_WALKS = 4  # for each multiprocessor or core: more leave no room to walk


def sensible_tiles(stages: Stages, frame: tuple[int, ...], device: Device) -> list[tuple[int, ...]]:
    """Without those that leave nearly all of a device idle, or are far more than it runs at once; some are left."""
    counted = [(count_of(frame, tile), tile) for tile in all_tiles(stages, frame)]
    least = min(device.multiprocessors / IDLE / device.cluster_blocks, max(count for count, _ in counted))
    crowd = CROWD if device.has_blocks else MOST_TILES
    most = max(device.multiprocessors * crowd, min(count for count, _ in counted))
    return [tile for count, tile in counted if least <= count <= most]


def walks_tried(stages: Stages, frame: tuple[int, ...], device: Device) -> list[tuple[tuple[int, ...], int]]:
    """Tiles, and how many of them a block computes one after the other; the first spatial dimension is cut evenly."""
    if len(frame) <= WALKED:
        return []
    least, most = max(1.0, device.multiprocessors / IDLE), device.multiprocessors * MOST_WALKS
    found = []
    for tile in all_tiles(stages, frame):
        along = frame[WALKED] // tile[WALKED]
        if along < FEWEST_WALKED or frame[WALKED] % tile[WALKED]:
            continue
        count = count_of(frame, tile)
        walks = (w for w in range(2, along + 1) if along % w == 0)
        found += [(tile, walk) for walk in walks if least <= count // walk <= most]
    return found


def count_of(frame: tuple[int, ...], tile: tuple[int, ...]) -> int:
    """Tiles that cover a frame."""
    return math.prod(-(-d // t) for d, t in zip(frame, tile, strict=True))


def all_tiles(stages: Stages, frame: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Tiles to try, the largest first: channels whole or in parts, spatial dimensions from whole to one position."""
    if len(frame) < 3:
        yield frame
        for part in _parts(frame[1] if len(frame) > 1 else 1):
            yield (*frame[:1], part)[: len(frame)]
        return
    for c in (frame[1], *_channel_parts(stages, frame[1])):
        for spatial in _spatial(frame[2:]):
            yield (1, c, *spatial)


def _channel_parts(stages: Stages, channels: int) -> list[int]:
    """Parts of the channels that need less than all of what comes before: else it is computed again for each."""
    sinks = [s.root.node for s in stages.sinks]
    if any(n.out.dims[1] != channels for n in sinks):
        return []
    if all(n.op in ("window", "binary", "unary") or is_depthwise(n) for n in sinks):
        return _parts(channels)
    groups = math.gcd(*(n.attrs["groups"] if n.op == "conv" else 1 for n in sinks))
    return [channels // g for g in range(2, groups + 1) if groups % g == 0]


def _parts(size: int) -> list[int]:
    return [p for p in (size // 2, size // 4, size // 8, 32, 16) if 8 <= p < size and size % p == 0]


def _spatial(dims: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    *outer, height, width = (1, *dims) if len(dims) == 1 else dims
    outer = outer[len(outer) - (len(dims) - 2) :] if len(dims) > 2 else []
    heights, widths = _cuts(height), _cuts(width)
    for h in heights:
        for w in widths:
            if (h <= 2 * w and w <= 8 * h) or h == height or w == width:
                tile = (*(1 for _ in outer), h, w)
                yield tile[-len(dims) :]


def _cuts(size: int) -> list[int]:
    """Extents of tiles along one dimension, the largest first: those that cover it with least to spare."""
    found = {-(-size // n) for n in range(1, size + 1)}
    return sorted(
        (t for t in found if t in (1, 2, 3, 4, 5, 6, 7, 8, 14, 16, 28, 32, size) or t * 2 == size), reverse=True
    )
