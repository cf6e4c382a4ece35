"""ONNX models of the blocks of convolutional networks, as exporters write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from answers import RandomModel
from table_operators import Sketch

__all__ = ["BLOCK_MODELS"]


@dataclass
class _Model(Sketch):
    """A sketch with the layers that blocks are made of."""

    def __post_init__(self) -> None:
        self.inputs.clear()

    def conv(self, x: str, filters: int, kernel: int = 1, *, stride: int = 1, group: int = 1, dilation: int = 1) -> str:
        """Convolution with a bias, padded to keep the extent where the stride is 1."""
        channels = self.shapes[x][1] // group
        w = self.random(filters, channels, kernel, kernel, scale=1 / math.sqrt(channels * kernel * kernel))
        pads = [(kernel - 1) * dilation // 2] * 4
        return self.node(
            "Conv",
            x,
            w,
            self.random(filters),
            pads=pads,
            strides=[stride] * 2,
            dilations=[dilation] * 2,
            group=group,
        )

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def norm(self, x: str) -> str:
        """Batch normalisation."""
        c = self.shapes[x][1]
        return self.node(
            "BatchNormalization", x, self.random(c, low=0.5), self.random(c), self.random(c), self.random(c, low=0.5)
        )

    def case(self, *outputs: str) -> RandomModel:
        return RandomModel(self.model(*outputs), self.arrays())


def fire() -> RandomModel:
    """SqueezeNet's module."""
    m = _Model()
    s = m.relu(m.conv(m.input(1, 32, 27, 27), 8))
    return m.case(m.node("Concat", m.relu(m.conv(s, 32)), m.relu(m.conv(s, 32, 3)), axis=1))


def inception() -> RandomModel:
    """GoogLeNet's module, with its pooling branch."""
    m = _Model()
    x = m.input(1, 48, 14, 14)
    pooled = m.node("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[1, 1])
    branches = [
        m.relu(m.conv(x, 16)),
        m.relu(m.conv(m.relu(m.conv(x, 12)), 24, 3)),
        m.relu(m.conv(m.relu(m.conv(x, 4)), 8, 5)),
        m.relu(m.conv(pooled, 8)),
    ]
    return m.case(m.node("Concat", *branches, axis=1))


def basic_residual() -> RandomModel:
    """ResNet-18's block."""
    m = _Model()
    x = m.input(1, 16, 28, 28)
    y = m.norm(m.conv(m.relu(m.norm(m.conv(x, 16, 3))), 16, 3))
    return m.case(m.relu(m.node("Add", y, x)))


def bottleneck() -> RandomModel:
    """ResNet-50's block, with a projection."""
    m = _Model()
    x = m.input(1, 32, 28, 28)
    y = m.relu(m.norm(m.conv(m.relu(m.norm(m.conv(x, 8))), 8, 3)))
    return m.case(m.relu(m.node("Add", m.norm(m.conv(y, 32)), m.norm(m.conv(x, 32)))))


def separable() -> RandomModel:
    """MobileNet's depthwise-separable layers."""
    m = _Model()
    y = m.relu(m.norm(m.conv(m.input(1, 16, 28, 28), 16, 3, group=16)))
    return m.case(m.relu(m.norm(m.conv(y, 32))))


def inverted_residual() -> RandomModel:
    """MobileNetV2's block."""
    m = _Model()
    x = m.input(1, 8, 28, 28)
    low, high = m.constant(np.float32(0)), m.constant(np.float32(6))
    y = m.node("Clip", m.norm(m.conv(x, 48)), low, high)
    y = m.node("Clip", m.norm(m.conv(y, 48, 3, group=48)), low, high)
    return m.case(m.node("Add", x, m.norm(m.conv(y, 8))))


def dense_layer() -> RandomModel:
    """DenseNet's layer."""
    m = _Model()
    x = m.input(1, 32, 28, 28)
    y = m.conv(m.relu(m.norm(m.conv(m.relu(m.norm(x)), 32))), 8, 3)
    return m.case(m.node("Concat", x, y, axis=1))


def convs_and_pool() -> RandomModel:
    """VGG's first layers."""
    m = _Model()
    y = m.relu(m.conv(m.relu(m.conv(m.input(1, 3, 32, 32), 16, 3)), 16, 3))
    return m.case(m.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]))


def shuffle_unit() -> RandomModel:
    """ShuffleNet's unit."""
    m = _Model()
    x = m.input(1, 32, 28, 28)
    y = m.relu(m.conv(x, 16, group=2))
    y = m.node("Reshape", y, m.constant(np.asarray([1, 2, 8, 28, 28])))
    y = m.node("Transpose", y, perm=[0, 2, 1, 3, 4])
    y = m.node("Reshape", y, m.constant(np.asarray([1, 16, 28, 28])))
    y = m.conv(m.conv(y, 16, 3, group=16), 32, group=2)
    return m.case(m.relu(m.node("Add", y, x)))


def squeeze_and_excitation() -> RandomModel:
    """Means of the channels, two layers, and a product."""
    m = _Model()
    x = m.relu(m.conv(m.input(1, 16, 14, 14), 32, 3))
    s = m.relu(m.conv(m.node("GlobalAveragePool", x), 8))
    return m.case(m.node("Mul", x, m.node("Sigmoid", m.conv(s, 32))))


def up_and_concat() -> RandomModel:
    """U-Net's way up."""
    m = _Model()
    x, skip = m.relu(m.conv(m.input(1, 16, 14, 14), 16)), m.input(1, 8, 28, 28)
    scales = m.constant(np.asarray([1, 1, 2, 2], np.float32))
    up = m.node(
        "Resize", x, "", scales, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
    )
    y = m.relu(m.conv(m.node("Concat", skip, up, axis=1), 16, 3))
    return m.case(m.relu(m.conv(y, 16, 3)))


BLOCK_MODELS: dict[str, Callable[[], Any]] = {
    block.__name__.replace("_", " "): block
    for block in (
        fire,
        inception,
        basic_residual,
        bottleneck,
        separable,
        inverted_residual,
        dense_layer,
        convs_and_pool,
        shuffle_unit,
        squeeze_and_excitation,
        up_and_concat,
    )
}
