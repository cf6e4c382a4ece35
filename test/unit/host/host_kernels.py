"""Hand-written CPU kernels of the `kernels` stage and a program of two launches."""


def matmul_relu(name: str, m: int, n: int, k: int, rows: int = 4) -> str:
    """C[m, n] = max(A B, 0); a tile is `rows` rows and 16 columns, kept in registers."""
    columns = n // 16
    lines = [
        f"func.func private @{name}(%a: memref<{m * k}xf32>, %b: memref<{k * n}xf32>, %c: memref<{m * n}xf32>,",
        "    %tile: index) {",
        "  %zero = arith.constant dense<0.0> : vector<16xf32>",
        f"  %i0 = affine.apply affine_map<()[t] -> ((t floordiv {columns}) * {rows})>()[%tile]",
        f"  %j0 = affine.apply affine_map<()[t] -> ((t mod {columns}) * 16)>()[%tile]",
    ]
    accumulators = ", ".join(f"%p{r} = %zero" for r in range(rows))
    types = ", ".join(["vector<16xf32>"] * rows)
    lines.append(
        f"  %acc:{rows} = affine.for %kk = 0 to {k} iter_args({accumulators}) -> ({types}) {{\n"
        f"    %vb = affine.vector_load %b[%kk * {n} + %j0] : memref<{k * n}xf32>, vector<16xf32>"
    )
    for r in range(rows):
        lines += [
            f"    %x{r} = affine.load %a[(%i0 + {r}) * {k} + %kk] : memref<{m * k}xf32>",
            f"    %w{r} = vector.broadcast %x{r} : f32 to vector<16xf32>",
            f"    %n{r} = vector.fma %w{r}, %vb, %p{r} : vector<16xf32>",
        ]
    lines.append(f"    affine.yield {', '.join(f'%n{r}' for r in range(rows))} : {types}\n  }}")
    for r in range(rows):
        lines += [
            f"  %r{r} = arith.maximumf %acc#{r}, %zero : vector<16xf32>",
            f"  affine.vector_store %r{r}, %c[(%i0 + {r}) * {n} + %j0] : memref<{m * n}xf32>, vector<16xf32>",
        ]
    return "\n".join([*lines, "  return", "}"])


def softplus_rows(name: str, rows: int, width: int) -> str:
    """y[tile, :] = log1p(exp(x[tile, :])) through a scratch row, scalar loops."""
    size = rows * width
    return f"""
func.func private @{name}(%x: memref<{size}xf32>, %y: memref<{size}xf32>, %tile: index) {{
  %scratch = memref.alloca() {{alignment = 64 : i64}} : memref<{width}xf32>
  affine.for %i = 0 to {width} {{
    %v = affine.load %x[%tile * {width} + %i] : memref<{size}xf32>
    %e = math.exp %v : f32
    affine.store %e, %scratch[%i] : memref<{width}xf32>
  }}
  affine.for %i = 0 to {width} {{
    %e = affine.load %scratch[%i] : memref<{width}xf32>
    %l = math.log1p %e : f32
    affine.store %l, %y[%tile * {width} + %i] : memref<{size}xf32>
  }}
  return
}}
"""


def reverse(name: str, size: int, per_tile: int) -> str:
    """y[i] = x[size - 1 - i] / 2 + 1, `per_tile` elements a tile."""
    return f"""
func.func private @{name}(%x: memref<{size}xf32>, %y: memref<{size}xf32>, %tile: index) {{
  %half = arith.constant 0.5 : f32
  %one = arith.constant 1.0 : f32
  affine.for %i = 0 to {per_tile} {{
    %v = affine.load %x[{size - 1} - %tile * {per_tile} - %i] : memref<{size}xf32>
    %h = arith.mulf %v, %half : f32
    %r = arith.addf %h, %one : f32
    affine.store %r, %y[%tile * {per_tile} + %i] : memref<{size}xf32>
  }}
  return
}}
"""


def module(*functions: str) -> str:
    return 'module attributes {fusion.stage = "kernels"} {\n' + "\n".join(functions) + "\n}\n"


def ref(space: str, elements: int, offset: int = 0, **where: object) -> dict:
    return {"space": space, "offset": offset, "bytes": elements * 4, "dtype": "float32", **where}


def parallel(kernel: str, tiles: int, *args: dict) -> dict:
    return {"op": "parallel", "kernel": kernel, "tiles": tiles, "args": list(args)}
