"""Groups that read planes between their elements, for the tests of both kinds of kernels."""

from group_builder import GroupBuilder

NHWC = (0, 2, 3, 1)


def roi_align(x, regions=5, layout=None, relu=False, **attrs):
    b = GroupBuilder()
    plane, rois, images = b.input(*x, layout=layout), b.input(regions, 4), b.input(regions, dtype="int64")
    scaled = b.op("binary", rois, b.splat(3.0), kind="mul")
    given = {"kind": "mean", "sizes": (2, 3), "samples": 2, "scale": 0.5, "half_pixel": True}
    y = b.op("roi_align", plane, scaled, images, **(given | attrs))
    y = b.op("unary", y, kind="relu") if relu else y
    return b.group(y, layouts={y: layout})


def grid_sample(x, places, mode, padding, align_corners, layout=None, dtype="float32"):
    b = GroupBuilder()
    plane = b.input(*x, layout=layout, dtype=dtype)
    grid = b.input(x[0], *places, len(places))
    y = b.op("grid_sample", plane, grid, mode=mode, padding=padding, align_corners=align_corners)
    return b.group(y, layouts={y: layout})


GROUPS = {
    "mean_of_regions": roi_align((4, 3, 9, 7)),
    "whole_pixels": roi_align((4, 3, 9, 7), half_pixel=False),
    "largest_of_regions": roi_align((4, 2, 9, 7), kind="max", samples=3),
    "as_many_samples_as_fit": roi_align((4, 3, 9, 7), samples=0, scale=1.0),
    "largest_of_as_many": roi_align((4, 3, 9, 7), samples=0, kind="max", half_pixel=False),
    "regions_channels_last": roi_align((4, 24, 5, 6), layout=NHWC, relu=True),
    "plane_of_one_element": roi_align((4, 2, 1, 1)),
    "bilinear": grid_sample((2, 3, 5, 7), (4, 3), "linear", "zeros", False),
    "bilinear_channels_last": grid_sample((2, 16, 5, 7), (4, 3), "linear", "border", True, NHWC),
    "cubic_reflected": grid_sample((2, 3, 5, 7), (4, 3), "cubic", "reflection", False),
    "nearest_reflected_corners": grid_sample((2, 3, 5, 1), (4, 3), "nearest", "reflection", True),
    "volume": grid_sample((2, 2, 3, 4, 5), (2, 3, 2), "linear", "reflection", True),
    "line": grid_sample((2, 2, 9), (6,), "cubic", "zeros", False),
    "doubles": grid_sample((1, 2, 5, 7), (4, 3), "linear", "border", False, dtype="float64"),
}
