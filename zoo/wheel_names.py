"""The networks of the onnx package, by name; apart, because naming them needs no onnx."""

__all__ = ["WHEEL_NETWORKS"]

WHEEL_NETWORKS = (
    "alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)
