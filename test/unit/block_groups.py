"""The blocks of convolutional networks as groups, small, and tiles of their outputs to cut them into."""

from group_builder import GroupBuilder

__all__ = ["BLOCKS"]


class _Blocks(GroupBuilder):
    """Convolutions with a bias and an activation, and what else blocks are made of."""

    def channels(self, x):
        return self.types[x].dims[1]

    def layer(self, x, filters, kernel=1, *, stride=1, groups=1, dilation=1, act="relu", bias=True, pad=None):
        """Convolution, bias, activation; padded to keep the extent where the stride is 1."""
        rank = len(self.types[x].dims) - 2
        kernel = (kernel,) * rank if isinstance(kernel, int) else kernel
        pads = tuple((k - 1) * dilation // 2 if pad is None else pad for k in kernel) * 2
        w = self.input(filters, self.channels(x) // groups, *kernel)
        y = self.conv(x, w, (stride,) * rank, pads, (dilation,) * rank, None, groups)
        if bias:
            y = self.add(y, self.input(1, filters, *(1,) * rank))
        return self.unary(y, act) if act else y

    def unary(self, x, kind):
        alpha, beta = {"clip": (0.0, 6.0), "hardsigmoid": (0.2, 0.5)}.get(kind, (0.0, 0.0))
        return self.op("unary", x, kind=kind, alpha=alpha, beta=beta)

    def add(self, a, b):
        return self.op("binary", a, b, kind="add")

    def concat(self, *xs, axis=1):
        return self.op("concat", *xs, axis=axis)

    def window(self, x, kind, kernel, stride, pad, *, ceil=False, include=False):
        """Pooling; with `ceil` the last window may leave the padded input."""
        sizes = []
        for dim in self.types[x].dims[2:]:
            extent = dim + 2 * pad - kernel
            sizes.append((-(-extent // stride) if ceil else extent // stride) + 1)
        rank = len(sizes)
        return self.pool(x, kind, (kernel,) * rank, (stride,) * rank, (pad,) * 2 * rank, tuple(sizes), include)


def fire(expand=4, size=9):
    """SqueezeNet: squeeze 1x1, then 1x1 and 3x3 beside each other, concatenated."""
    b = _Blocks()
    s = b.layer(b.input(1, 6, size, size), 3)
    return b.group(b.concat(b.layer(s, expand), b.layer(s, expand, 3))), [(1, 2 * expand, 3, 4), (1, 8, 9, 2)]


def fire_with_bypass():
    """The input is added to what the fire module gives, and pooled."""
    b = _Blocks()
    x = b.input(1, 8, 9, 9)
    s = b.layer(x, 3)
    y = b.add(b.concat(b.layer(s, 4), b.layer(s, 4, 3)), x)
    return b.group(b.window(y, "max", 3, 2, 0)), [(1, 8, 2, 3), (1, 3, 4, 1), (1, 8, 4, 4)]


def inception():
    """GoogLeNet: 1x1; 1x1 and 3x3; 1x1 and 5x5; pool and 1x1."""
    b = _Blocks()
    x = b.input(1, 5, 8, 8)
    branches = [
        b.layer(x, 3),
        b.layer(b.layer(x, 2), 4, 3),
        b.layer(b.layer(x, 2), 2, 5),
        b.layer(b.window(x, "max", 3, 1, 1), 3),
    ]
    return b.group(b.concat(*branches)), [(1, 4, 3, 3), (1, 4, 8, 5)]


def inception_reduction():
    """Strided convolutions beside a strided pool, which is no convolution's epilogue; and factorised kernels."""
    b = _Blocks()
    x = b.input(1, 4, 11, 11)
    wide = b.layer(b.layer(x, 3, (1, 7)), 3, (7, 1))
    branches = [b.layer(wide, 4, 3, stride=2, pad=0), b.window(x, "max", 3, 2, 0), b.window(x, "mean", 3, 2, 0)]
    return b.group(b.concat(*branches)), [(1, 4, 2, 2), (1, 4, 5, 1), (1, 4, 1, 5)]


def split_outputs():
    """Three branches of different channels, each an output of its own."""
    b = _Blocks()
    s = b.layer(b.input(2, 4, 7, 7), 3)
    outputs = b.layer(s, 4), b.layer(s, 6, 3), b.layer(b.window(s, "mean", 3, 1, 1, include=True), 5, 3)
    return b.group(*outputs), [(1, 5, 3, 3), (2, 5, 7, 2)]


def basic_residual():
    """ResNet-18: two 3x3 and the input."""
    b = _Blocks()
    x = b.input(2, 4, 9, 9)
    y = b.layer(b.layer(x, 4, 3), 4, 3, act=None)
    return b.group(b.unary(b.add(y, x), "relu")), [(1, 4, 4, 4), (2, 2, 3, 9)]


def projected_residual():
    """With a stride, and a 1x1 convolution on the way past."""
    b = _Blocks()
    x = b.input(1, 4, 10, 10)
    y = b.layer(b.layer(x, 6, 3, stride=2), 6, 3, act=None)
    past = b.layer(x, 6, stride=2, act=None)
    return b.group(b.unary(b.add(y, past), "relu")), [(1, 6, 2, 2), (1, 3, 5, 2), (1, 6, 3, 3)]


def bottleneck():
    """ResNet-50: 1x1, 3x3, 1x1 and the input."""
    b = _Blocks()
    x = b.input(1, 8, 9, 9)
    y = b.layer(b.layer(b.layer(x, 3), 3, 3), 8, act=None)
    return b.group(b.unary(b.add(y, x), "relu")), [(1, 8, 3, 3), (1, 8, 4, 9), (1, 4, 2, 2)]


def grouped_bottleneck():
    """ResNeXt: the 3x3 in groups; strided, and dilated."""
    b = _Blocks()
    x = b.input(1, 6, 11, 11)
    y = b.layer(b.layer(b.layer(x, 4), 8, 3, groups=2, stride=2), 8, 3, groups=4, dilation=2)
    return b.group(b.layer(y, 6, act=None)), [(1, 6, 2, 3), (1, 6, 6, 6)]


def separable():
    """MobileNet: depthwise 3x3 and 1x1, strided and not."""
    b = _Blocks()
    y = b.layer(b.input(1, 5, 12, 12), 5, 3, groups=5, stride=2, act="clip")
    y = b.layer(y, 7, act="clip")
    y = b.layer(y, 7, 3, groups=7, act="clip")
    return b.group(b.layer(y, 4, act="clip")), [(1, 4, 3, 3), (1, 2, 4, 6)]


def inverted_residual():
    """MobileNetV2: 1x1 up, depthwise, 1x1 down, and the input."""
    b = _Blocks()
    x = b.input(1, 3, 8, 8)
    y = b.layer(b.layer(x, 9, act="clip"), 9, 3, groups=9, act="clip")
    return b.group(b.add(x, b.layer(y, 3, act=None))), [(1, 3, 4, 4), (1, 3, 3, 5)]


def dense_layer():
    """DenseNet: scale, 1x1, 3x3, concatenated to what was there before."""
    b = _Blocks()
    x = b.input(1, 6, 7, 7)
    y = b.unary(b.add(b.op("binary", x, b.input(1, 6, 1, 1), kind="mul"), b.input(1, 6, 1, 1)), "relu")
    y = b.layer(b.layer(y, 5), 3, 3, act=None, bias=False)
    return b.group(b.concat(x, y)), [(1, 9, 3, 3), (1, 2, 7, 2)]


def dense_layers():
    """Two of these: the second reads the first's concatenation."""
    b = _Blocks()
    x = b.input(1, 4, 7, 7)
    for _ in range(2):
        y = b.unary(b.op("binary", x, b.input(1, b.channels(x), 1, 1), kind="mul"), "relu")
        x = b.concat(x, b.layer(b.layer(y, 3), 2, 3, act=None, bias=False))
    return b.group(x), [(1, 8, 3, 3), (1, 3, 7, 4)]


def shuffle_unit():
    """ShuffleNet: grouped 1x1, channels shuffled, depthwise, grouped 1x1, and the input."""
    b = _Blocks()
    x = b.input(1, 8, 6, 6)
    y = b.layer(x, 4, groups=2)
    y = b.op("reshape", y, shape=(1, 2, 2, 6, 6))
    y = b.op("reshape", b.op("transpose", y, perm=(0, 2, 1, 3, 4)), shape=(1, 4, 6, 6))
    y = b.layer(b.layer(y, 4, 3, groups=4, act=None), 8, groups=2, act=None)
    return b.group(b.unary(b.add(y, x), "relu")), [(1, 8, 3, 3), (1, 4, 4, 6), (1, 2, 2, 2)]


def strided_shuffle_unit():
    """With a stride: the input is pooled and concatenated, the shuffle comes last."""
    b = _Blocks()
    x = b.input(1, 4, 9, 9)
    y = b.layer(b.layer(b.layer(x, 4, groups=2), 4, 3, groups=4, stride=2, act=None), 4, groups=2, act=None)
    y = b.unary(b.concat(b.window(x, "mean", 3, 2, 1), y), "relu")
    y = b.op("reshape", y, shape=(1, 2, 4, 5, 5))
    return b.group(b.op("reshape", b.op("transpose", y, perm=(0, 2, 1, 3, 4)), shape=(1, 8, 5, 5))), [
        (1, 8, 2, 2),
        (1, 4, 5, 3),
        (1, 2, 2, 2),
    ]


def split_shuffle_unit():
    """ShuffleNetV2: half the channels pass by, which a slice takes; the halves are concatenated and shuffled."""
    b = _Blocks()
    x = b.layer(b.input(1, 5, 6, 6), 8)
    halves = [b.op("slice", x, starts=(0, c, 0, 0), sizes=(1, 4, 6, 6), steps=(1,) * 4) for c in (0, 4)]
    y = b.layer(b.layer(b.layer(halves[1], 4), 4, 3, groups=4, act=None), 4)
    y = b.op("reshape", b.concat(halves[0], y), shape=(1, 2, 4, 6, 6))
    return b.group(b.op("reshape", b.op("transpose", y, perm=(0, 2, 1, 3, 4)), shape=(1, 8, 6, 6))), [
        (1, 8, 3, 3),
        (1, 4, 6, 4),
    ]


def convs_and_pool():
    """VGG: two 3x3 and a pool."""
    b = _Blocks()
    y = b.layer(b.layer(b.input(1, 3, 10, 10), 4, 3), 4, 3)
    return b.group(b.window(y, "max", 2, 2, 0)), [(1, 4, 2, 2), (1, 2, 5, 3)]


def squeeze_and_excitation():
    """The means of all channels through two layers; the convolution's result is multiplied by what they give."""
    b = _Blocks()
    x = b.layer(b.input(1, 4, 6, 6), 6, 3)
    s = b.op("reduce", x, kind="mean", axes=(2, 3), keepdims=True)
    s = b.layer(b.layer(s, 2), 6, act="sigmoid")
    return b.group(b.op("binary", x, s, kind="mul")), [(1, 6, 3, 3), (1, 6, 6, 6), (1, 3, 4, 6)]


def excited_inverted_residual():
    """EfficientNet and MobileNetV3: excitation by fully connected layers between depthwise and 1x1."""
    b = _Blocks()
    x = b.input(1, 3, 7, 7)
    y = b.layer(b.layer(x, 6, act="hardswish"), 6, 3, groups=6, act="hardswish")
    s = b.op("reshape", b.op("reduce", y, kind="mean", axes=(2, 3), keepdims=False), shape=(1, 6))
    s = b.op("contract", s, b.input(6, 2), constant=(False, True), equation="mk,kn->mn")
    s = b.op("contract", b.unary(s, "relu"), b.input(2, 6), constant=(False, True), equation="mk,kn->mn")
    s = b.op("reshape", b.unary(s, "hardsigmoid"), shape=(1, 6, 1, 1))
    return b.group(b.add(b.layer(b.op("binary", y, s, kind="mul"), 3, act=None), x)), [(1, 3, 7, 7), (1, 3, 3, 4)]


def up_and_concat():
    """U-Net: upsampled (nearest, as movement), concatenated with what was kept, two 3x3."""
    b = _Blocks()
    skip = b.input(1, 3, 8, 8)
    x = b.layer(b.input(1, 6, 4, 4), 4)
    x = b.op("expand", b.op("reshape", x, shape=(1, 4, 4, 1, 4, 1)), shape=(1, 4, 4, 2, 4, 2))
    x = b.op("reshape", x, shape=(1, 4, 8, 8))
    return b.group(b.layer(b.layer(b.concat(skip, x), 5, 3), 4, 3)), [(1, 4, 4, 4), (1, 4, 3, 8), (1, 2, 5, 5)]


def transposed_and_concat():
    """U-Net with a transposed convolution."""
    b = _Blocks()
    skip = b.input(1, 3, 8, 8)
    up = b.conv(b.input(1, 6, 4, 4), b.input(4, 6, 2, 2), pads=(1, 1, 1, 1), input_dilation=(2, 2))
    return b.group(b.layer(b.layer(b.concat(skip, up), 5, 3), 4)), [(1, 4, 4, 4), (1, 4, 3, 8), (1, 2, 5, 5)]


def pyramid():
    """Halos that differ: a value read by 1x1, by a dilated 3x3 and by 5x5 with a hole at the border, then added."""
    b = _Blocks()
    x = b.layer(b.input(1, 3, 13, 13), 4)
    y = b.add(b.add(b.layer(x, 4), b.layer(x, 4, 3, dilation=3)), b.layer(x, 4, 5))
    return b.group(b.unary(y, "relu")), [(1, 4, 4, 4), (1, 2, 13, 5), (1, 4, 2, 2)]


def kept_output():
    """What the first convolution gives is read by the second and is an output too."""
    b = _Blocks()
    x = b.layer(b.input(1, 3, 9, 9), 4, 3)
    return b.group(x, b.layer(x, 4, 3)), [(1, 4, 3, 3), (1, 4, 4, 9)]


def lines():
    """One-dimensional convolutions, dilated more and more."""
    b = _Blocks()
    y = b.layer(b.layer(b.layer(b.input(2, 3, 23), 4, 3), 4, 3, dilation=2), 4, 3, dilation=4)
    return b.group(b.window(y, "max", 2, 2, 0, ceil=True)), [(1, 4, 4), (2, 2, 5)]


def volumes():
    """Three-dimensional convolutions and a pool."""
    b = _Blocks()
    y = b.layer(b.layer(b.input(1, 2, 5, 6, 6), 3, 3), 3, 3)
    return b.group(b.window(y, "mean", 2, 2, 0)), [(1, 3, 1, 2, 3), (1, 3, 2, 1, 1)]


def negative_padding():
    """A kernel that begins inside its input, and one that ends inside."""
    b = _Blocks()
    x = b.layer(b.input(1, 3, 11, 11), 4)
    y = b.conv(x, b.input(4, 4, 3, 3), pads=(-1, 2, 1, -2))
    return b.group(b.layer(y, 4, 3)), [(1, 4, 4, 4), (1, 4, 9, 3)]


def layers():
    """Fully connected layers, one after the other."""
    b = _Blocks()
    x = b.input(6, 8)
    for width in (5, 7, 3):
        x = b.op("contract", x, b.input(b.types[x].dims[1], width), constant=(False, True), equation="mk,kn->mn")
        x = b.unary(b.add(x, b.input(width)), "relu")
    return b.group(x), [(2, 3), (4, 2), (6, 3)]


def classifier():
    """Convolution, global mean, flattened, fully connected."""
    b = _Blocks()
    x = b.layer(b.input(2, 3, 5, 5), 6, 3)
    x = b.op("reshape", b.op("reduce", x, kind="mean", axes=(2, 3), keepdims=True), shape=(2, 6))
    return b.group(b.op("contract", x, b.input(6, 5), constant=(False, True), equation="mk,kn->mn")), [(1, 5), (2, 2)]


BLOCKS = {
    block.__name__.replace("_", " "): block
    for block in (
        fire,
        fire_with_bypass,
        inception,
        inception_reduction,
        split_outputs,
        basic_residual,
        projected_residual,
        bottleneck,
        grouped_bottleneck,
        separable,
        inverted_residual,
        dense_layer,
        dense_layers,
        shuffle_unit,
        strided_shuffle_unit,
        split_shuffle_unit,
        convs_and_pool,
        squeeze_and_excitation,
        excited_inverted_residual,
        up_and_concat,
        transposed_and_concat,
        pyramid,
        kept_output,
        lines,
        volumes,
        negative_padding,
        layers,
        classifier,
    )
}
