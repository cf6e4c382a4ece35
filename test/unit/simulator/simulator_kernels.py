"""Kernels that the simulator's tests share, as MLIR text."""

GLOBAL = "#gpu.address_space<global>"
SHARED = "#gpu.address_space<workgroup>"


def module(arguments: str, body: str, workgroup: str = "", attributes: str = "", preamble: str = "") -> str:
    """A module with one kernel `k`; `{G}` and `{S}` in the texts stand for the address spaces."""
    shared = f"workgroup({workgroup})" if workgroup else ""
    text = f"""{preamble}
module attributes {{gpu.container_module}} {{
  gpu.module @kernels {{
    gpu.func @k({arguments}) {shared} kernel {attributes} {{
{body}
      gpu.return
    }}
  }}
}}"""
    return text.replace("{G}", GLOBAL).replace("{S}", SHARED)


def elementwise(size: int, block: int) -> str:
    """y[i] = exp(x[i]) + 1 with a tail predicate."""
    memref = f"memref<{size}xf32, {{G}}>"
    return module(
        f"%x: {memref}, %y: {memref}",
        f"""
      %t = gpu.thread_id x
      %b = gpu.block_id x
      %one = arith.constant 1.0 : f32
      %i = affine.apply affine_map<(t, b) -> (t + b * {block})>(%t, %b)
      affine.if affine_set<(i) : ({size - 1} - i >= 0)>(%i) {{
        %v = affine.load %x[%i] : {memref}
        %e = math.exp %v : f32
        %s = arith.addf %e, %one : f32
        affine.store %s, %y[%i] : {memref}
      }}""",
    )


def matmul(m: int, n: int, k: int, tile: int = 16, pitch: int | None = None, barriers: tuple[int, ...] = (0, 1)) -> str:
    """C[m, n] = A[m, k] B[k, n]: a thread per element, tiles of both operands in shared memory.

    for k0:  A, B tiles -> shared; barrier 0; for kk: acc += A[ty, kk] * B[kk, tx]; barrier 1
    """
    pitch = pitch or tile
    bar = ["gpu.barrier" if number in barriers else "" for number in range(2)]
    a, b, c = (f"memref<{size}xf32, {{G}}>" for size in (m * k, k * n, m * n))
    tile_type = f"memref<{tile}x{pitch}xf32, {{S}}>"
    return module(
        f"%a: {a}, %b: {b}, %c: {c}",
        f"""
      %tx = gpu.thread_id x
      %ty = gpu.thread_id y
      %bx = gpu.block_id x
      %by = gpu.block_id y
      %zero = arith.constant 0.0 : f32
      %row = affine.apply affine_map<(t, b) -> (t + b * {tile})>(%ty, %by)
      %col = affine.apply affine_map<(t, b) -> (t + b * {tile})>(%tx, %bx)
      %sum = affine.for %k0 = 0 to {k} step {tile} iter_args(%acc = %zero) -> f32 {{
        %va = affine.load %a[%row * {k} + %k0 + %tx] : {a}
        affine.store %va, %sa[%ty, %tx] : {tile_type}
        %vb = affine.load %b[(%k0 + %ty) * {n} + %col] : {b}
        affine.store %vb, %sb[%ty, %tx] : {tile_type}
        {bar[0]}
        %part = affine.for %kk = 0 to {tile} iter_args(%in = %acc) -> f32 {{
          %pa = affine.load %sa[%ty, %kk] : {tile_type}
          %pb = affine.load %sb[%kk, %tx] : {tile_type}
          %next = math.fma %pa, %pb, %in : f32
          affine.yield %next : f32
        }}
        {bar[1]}
        affine.yield %part : f32
      }}
      affine.store %sum, %c[%row * {n} + %col] : {c}""",
        workgroup=f"%sa: {tile_type}, %sb: {tile_type}",
        attributes=f"attributes {{gpu.known_block_size = array<i32: {tile}, {tile}, 1>}}",
    )


def warp_sum(rows: int, columns: int) -> str:
    """y[r] = sum(x[r, :]): a warp per row, strided loads, then a butterfly of shuffles."""
    x, y = f"memref<{rows * columns}xf32, {{G}}>", f"memref<{rows}xf32, {{G}}>"
    steps = "\n".join(
        f"""
      %o{step} = arith.constant {1 << step} : i32
      %v{step}, %p{step} = gpu.shuffle xor %s{step}, %o{step}, %w : f32
      %s{step + 1} = arith.addf %s{step}, %v{step} : f32"""
        for step in range(5)
    )
    return module(
        f"%x: {x}, %y: {y}",
        f"""
      %t = gpu.thread_id x
      %row = gpu.block_id x
      %zero = arith.constant 0.0 : f32
      %w = arith.constant 32 : i32
      %s0 = affine.for %i = affine_map<(t) -> (t)>(%t) to {columns} step 32 iter_args(%acc = %zero) -> f32 {{
        %v = affine.load %x[%row * {columns} + %i] : {x}
        %next = arith.addf %acc, %v : f32
        affine.yield %next : f32
      }}
      {steps}
      affine.if affine_set<(t) : (t == 0)>(%t) {{
        affine.store %s5, %y[%row] : {y}
      }}""",
    )


def convolution(n: int, c: int, h: int, w: int, k: int, tile_h: int = 4, tile_w: int = 16) -> str:
    """3x3, stride 1, padding 1, NCHW, bias and relu: 64 threads compute 16 channels of a tile_h x tile_w tile.

    for c:  input tile with halo, 16 filters -> shared; barrier
            for r, s: 4 pixels (a vector) x 4 channels of registers += shared x shared; barrier
    """
    assert tile_h * tile_w == 64
    in_h, pitch = tile_h + 2, tile_w + 4
    tiles_w = -(-w // tile_w)
    x, f, b, y = (f"memref<{s}xf32, {{G}}>" for s in (n * c * h * w, k * c * 9, k, n * k * h * w))
    s_in, s_f = f"memref<{in_h}x{pitch}xf32, {{S}}>", "memref<9x16xf32, {S}>"
    body = f"""
      %t = gpu.thread_id x
      %bx = gpu.block_id x
      %by = gpu.block_id y
      %image = gpu.block_id z
      %zero = arith.constant 0.0 : f32
      %zeros = arith.constant dense<0.0> : vector<4xf32>
      %acc = memref.alloca() : memref<4xvector<4xf32>>
      affine.for %i = 0 to 4 {{
        affine.store %zeros, %acc[%i] : memref<4xvector<4xf32>>
      }}
      %y0 = affine.apply affine_map<(b) -> ((b floordiv {tiles_w}) * {tile_h})>(%bx)
      %x0 = affine.apply affine_map<(b) -> ((b mod {tiles_w}) * {tile_w})>(%bx)
      %kg = affine.apply affine_map<(t) -> (t floordiv 16)>(%t)
      %row = affine.apply affine_map<(t) -> ((t mod 16) floordiv {tile_w // 4})>(%t)
      %px = affine.apply affine_map<(t) -> ((t mod {tile_w // 4}) * 4)>(%t)
      affine.for %ci = 0 to {c} {{
        affine.for %j = 0 to {-(-in_h * pitch // 64)} {{
          %e = affine.apply affine_map<(j, t) -> (j * 64 + t)>(%j, %t)
          %ey = affine.apply affine_map<(e) -> (e floordiv {pitch})>(%e)
          %ex = affine.apply affine_map<(e) -> (e mod {pitch})>(%e)
          %gy = affine.apply affine_map<(e, b) -> (e + b - 1)>(%ey, %y0)
          %gx = affine.apply affine_map<(e, b) -> (e + b - 1)>(%ex, %x0)
          affine.if affine_set<(e) : ({in_h * pitch - 1} - e >= 0)>(%e) {{
            %v = affine.if affine_set<(y, x) : (y >= 0, {h - 1} - y >= 0, x >= 0, {w - 1} - x >= 0)>(%gy, %gx) -> f32 {{
              %l = affine.load %x[((%image * {c} + %ci) * {h} + %gy) * {w} + %gx] : {x}
              affine.yield %l : f32
            }} else {{
              affine.yield %zero : f32
            }}
            affine.store %v, %si[%ey, %ex] : {s_in}
          }}
        }}
        affine.for %j = 0 to 3 {{
          %e = affine.apply affine_map<(j, t) -> (j * 64 + t)>(%j, %t)
          affine.if affine_set<(e) : (143 - e >= 0)>(%e) {{
            %l = affine.load %f[((%by * 16 + %e floordiv 9) * {c} + %ci) * 9 + %e mod 9] : {f}
            affine.store %l, %sf[%e mod 9, %e floordiv 9] : {s_f}
          }}
        }}
        gpu.barrier
        affine.for %r = 0 to 3 {{
          %lo = affine.vector_load %si[%row + %r, %px] : {s_in}, vector<4xf32>
          %hi = affine.vector_load %si[%row + %r, %px + 4] : {s_in}, vector<4xf32>
          %v0 = vector.shuffle %lo, %hi [0, 1, 2, 3] : vector<4xf32>, vector<4xf32>
          %v1 = vector.shuffle %lo, %hi [1, 2, 3, 4] : vector<4xf32>, vector<4xf32>
          %v2 = vector.shuffle %lo, %hi [2, 3, 4, 5] : vector<4xf32>, vector<4xf32>"""
    for s in range(3):
        body += f"""
          %w{s} = affine.vector_load %sf[%r * 3 + {s}, %kg * 4] : {s_f}, vector<4xf32>"""
        for i in range(4):
            body += f"""
          %e{s}{i} = vector.extract %w{s}[{i}] : f32 from vector<4xf32>
          %b{s}{i} = vector.broadcast %e{s}{i} : f32 to vector<4xf32>
          %a{s}{i} = affine.load %acc[{i}] : memref<4xvector<4xf32>>
          %m{s}{i} = vector.fma %v{s}, %b{s}{i}, %a{s}{i} : vector<4xf32>
          affine.store %m{s}{i}, %acc[{i}] : memref<4xvector<4xf32>>"""
    body += f"""
        }}
        gpu.barrier
      }}
      affine.for %i = 0 to 4 {{
        %ch = affine.apply affine_map<(i, b, g) -> (b * 16 + g * 4 + i)>(%i, %by, %kg)
        %bias = affine.load %b[%ch] : {b}
        %bv = vector.broadcast %bias : f32 to vector<4xf32>
        %a = affine.load %acc[%i] : memref<4xvector<4xf32>>
        %s = arith.addf %a, %bv : vector<4xf32>
        %m = arith.maximumf %s, %zeros : vector<4xf32>
        affine.if affine_set<(y, x) : ({h - 1} - y >= 0, {w - 1} - x >= 0)>(%oy, %ox) {{
          affine.vector_store %m, %y[((%image * {k} + %ch) * {h} + %oy) * {w} + %ox] : {y}, vector<4xf32>
        }}
      }}"""
    coordinates = """
      %oy = affine.apply affine_map<(b, r) -> (b + r)>(%y0, %row)
      %ox = affine.apply affine_map<(b, p) -> (b + p)>(%x0, %px)
      affine.for %ci"""
    body = body.replace("\n      affine.for %ci", coordinates, 1)
    return module(f"%x: {x}, %f: {f}, %b: {b}, %y: {y}", body, workgroup=f"%si: {s_in}, %sf: {s_f}")
