"""Attention written down op by op: the scores' product, scale and mask, softmax, the values' product."""

from group_builder import GroupBuilder


def attention(
    batch=1,
    heads=2,
    rows=8,
    keys=8,
    depth=4,
    width=4,
    *,
    keys_first=False,
    mask=None,
    scale="mul",
    merged=True,
):
    """softmax(Q Kᵀ scale + mask) V as a group; `mask` is its shape, `merged` brings the heads together again.

    K is [batch, heads, depth, keys], as exporters transpose it, or [batch, heads, keys, depth] with `keys_first`.
    """
    b = GroupBuilder()
    q = b.input(batch, heads, rows, depth)
    k = b.input(batch, heads, keys, depth) if keys_first else b.input(batch, heads, depth, keys)
    v = b.input(batch, heads, keys, width)
    x = b.op("contract", q, k, equation="abmk,abnk->abmn" if keys_first else "abmk,abkn->abmn")
    if scale:
        x = b.op("binary", x, b.splat(0.3 if scale == "mul" else 3.0), kind=scale)
    if mask is not None:
        x = b.op("binary", x, b.input(*mask), kind="add")
    y = b.op("contract", b.op("softmax", x, axes=(3,), log=False), v, equation="abmk,abkn->abmn")
    if merged:
        y = b.op("reshape", b.op("transpose", y, perm=(0, 2, 1, 3)), shape=(batch, rows, heads * width))
    return b.group(y)


# Odd sizes, broadcast masks, and tiles that do not divide the rows.
CASES = {
    "plain": {"scale": None},
    "one row": {"rows": 1, "keys": 9},
    "odd sizes": {"heads": 3, "rows": 37, "keys": 29, "depth": 10, "width": 13},
    "keys before depth": {"rows": 24, "keys": 20, "keys_first": True},
    "mask of keys": {"batch": 2, "rows": 12, "keys": 16, "mask": (2, 1, 1, 16)},
    "mask of rows and keys": {"rows": 70, "keys": 33, "mask": (1, 1, 70, 33), "scale": "div"},
    "mask of every score": {"rows": 20, "keys": 24, "mask": (1, 2, 20, 24), "merged": False},
    "more rows than a tile": {"heads": 1, "rows": 130, "keys": 40, "depth": 16, "width": 24},
}


def prologue_and_moves():
    """Q, K and V are slices of one projection, split into heads here; Q is scaled before its product."""
    b = GroupBuilder()
    batch, rows, heads, depth = 1, 18, 3, 8
    joined = b.input(batch, rows, 3 * heads * depth)

    def part(number, perm):
        start = number * heads * depth
        x = b.op("slice", joined, starts=(0, 0, start), sizes=(batch, rows, heads * depth), steps=(1, 1, 1))
        return b.op("transpose", b.op("reshape", x, shape=(batch, rows, heads, depth)), perm=perm)

    q = b.op("binary", part(0, (0, 2, 1, 3)), b.splat(0.25), kind="mul")
    x = b.op("contract", q, part(1, (0, 2, 3, 1)), equation="abmk,abkn->abmn")
    x = b.op("select", b.input(1, 1, rows, rows, dtype="bool"), x, b.splat(-1e9))
    p = b.op("softmax", x, axes=(3,), log=False)
    y = b.op("contract", p, part(2, (0, 2, 1, 3)), equation="abmk,abkn->abmn")
    return b.group(b.op("reshape", b.op("transpose", y, perm=(0, 2, 1, 3)), shape=(batch * rows, heads * depth)))


def grouped_queries():
    """Four heads of queries share two of keys and values, which are expanded inside the group."""
    b = GroupBuilder()
    q, k, v = b.input(1, 4, 10, 8), b.input(1, 2, 12, 8), b.input(1, 2, 12, 8)

    def spread(x):
        wide = b.op("expand", b.op("reshape", x, shape=(1, 2, 1, 12, 8)), shape=(1, 2, 2, 12, 8))
        return b.op("reshape", wide, shape=(1, 4, 12, 8))

    x = b.op("contract", q, spread(k), equation="abmk,abnk->abmn")
    return b.group(b.op("contract", b.op("softmax", x, axes=(3,), log=False), spread(v), equation="abmk,abkn->abmn"))
