"""Hand-written kernels of the `kernels` stage: what a generator may emit, in small."""

_GLOBAL = "#gpu.address_space<global>"
_SHARED = "#gpu.address_space<workgroup>"


def _module(signature: str, attributions: str, threads: int, body: str) -> str:
    shared = f"workgroup({attributions})" if attributions else ""
    return f"""
module attributes {{gpu.container_module, fusion.stage = "kernels"}} {{
  gpu.module @kernels {{
    gpu.func {signature} {shared} kernel attributes {{
        gpu.known_block_size = array<i32: {threads}, 1, 1>, nvvm.maxntid = array<i32: {threads}, 1, 1>}} {{
{body}
      gpu.return
    }}
  }}
}}
"""


def _input(name: str, size: int) -> str:
    return f"%{name}: memref<{size}xf32, {_GLOBAL}> {{llvm.noalias, llvm.readonly, llvm.align = 16 : i64}}"


def _output(name: str, size: int) -> str:
    return f"%{name}: memref<{size}xf32, {_GLOBAL}> {{llvm.noalias, llvm.align = 16 : i64}}"


def elementwise(name: str, functions: tuple[str, ...], size: int = 4096) -> str:
    """y[i] = fn(... f1(x[i])), one element per thread."""
    body = ["      %t = gpu.thread_id x", "      %b = gpu.block_id x"]
    body.append(f"      %v0 = affine.load %x[%b * 256 + %t] : memref<{size}xf32, {_GLOBAL}>")
    for i, function in enumerate(functions):
        body.append(f"      %v{i + 1} = math.{function} %v{i} : f32")
    body.append(f"      affine.store %v{len(functions)}, %y[%b * 256 + %t] : memref<{size}xf32, {_GLOBAL}>")
    return _module(f"@{name}({_input('x', size)}, {_output('y', size)})", "", 256, "\n".join(body))


def vector_gelu(name: str, size: int = 4096) -> str:
    """0.5 x (1 + erf(x / sqrt 2)), four elements per thread."""
    kind = f"memref<{size}xf32, {_GLOBAL}>, vector<4xf32>"
    body = f"""
      %t = gpu.thread_id x
      %b = gpu.block_id x
      %v = affine.vector_load %x[(%b * 128 + %t) * 4] {{alignment = 16}} : {kind}
      %scale = arith.constant dense<0.70710678> : vector<4xf32>
      %half = arith.constant dense<0.5> : vector<4xf32>
      %one = arith.constant dense<1.0> : vector<4xf32>
      %s = arith.mulf %v, %scale : vector<4xf32>
      %e = math.erf %s : vector<4xf32>
      %p = arith.addf %e, %one : vector<4xf32>
      %h = arith.mulf %v, %half : vector<4xf32>
      %g = arith.mulf %h, %p : vector<4xf32>
      affine.vector_store %g, %y[(%b * 128 + %t) * 4] {{alignment = 16}} : {kind}"""
    return _module(f"@{name}({_input('x', size)}, {_output('y', size)})", "", 128, body)


def tiled_matmul(name: str, m: int = 128, n: int = 128, k: int = 128, staged: int = 16) -> str:
    """C[m, n] = max(A B, 0): 64 x 64 outputs per block of 256 threads, 4 x 4 per thread, K by `staged`."""
    a, b, c = (f"memref<{s}xf32, {_GLOBAL}>" for s in (m * k, k * n, m * n))
    tile_a, tile_b = f"memref<{staged}x64xf32, {_SHARED}>", f"memref<{staged}x64xf32, {_SHARED}>"
    copies = staged * 64 // 256
    body = (
        f"""
      %t = gpu.thread_id x
      %bx = gpu.block_id x
      %by = gpu.block_id y
      %zero = arith.constant dense<0.0> : vector<4xf32>
      %acc = memref.alloca() : memref<4xvector<4xf32>>
      affine.for %i = 0 to 4 {{
        affine.store %zero, %acc[%i] : memref<4xvector<4xf32>>
      }}
      %row = affine.apply affine_map<()[t] -> (t floordiv 16)>()[%t]
      %col = affine.apply affine_map<()[t] -> (t mod 16)>()[%t]
      affine.for %k0 = 0 to {k} step {staged} {{
        affine.for %j = 0 to {copies} {{
          %r = affine.apply affine_map<(j)[t] -> ((j * 256 + t) floordiv {staged})>(%j)[%t]
          %s = affine.apply affine_map<(j)[t] -> ((j * 256 + t) mod {staged})>(%j)[%t]
          %va = affine.load %a[(%by * 64 + %r) * {k} + %k0 + %s] : {a}
          affine.store %va, %sa[%s, %r] : {tile_a}
          %rb = affine.apply affine_map<(j)[t] -> ((j * 256 + t) floordiv 64)>(%j)[%t]
          %cb = affine.apply affine_map<(j)[t] -> ((j * 256 + t) mod 64)>(%j)[%t]
          %vb = affine.load %b[(%k0 + %rb) * {n} + %bx * 64 + %cb] : {b}
          affine.store %vb, %sb[%rb, %cb] : {tile_b}
        }}
        gpu.barrier
        affine.for %kk = 0 to {staged} {{
          %fa = affine.vector_load %sa[%kk, %row * 4] {{alignment = 16}} : {tile_a}, vector<4xf32>
          %fb = affine.vector_load %sb[%kk, %col * 4] {{alignment = 16}} : {tile_b}, vector<4xf32>
"""
        + "".join(
            f"""
          %x{i} = vector.extract %fa[{i}] : f32 from vector<4xf32>
          %w{i} = vector.broadcast %x{i} : f32 to vector<4xf32>
          %o{i} = affine.load %acc[{i}] : memref<4xvector<4xf32>>
          %n{i} = vector.fma %w{i}, %fb, %o{i} : vector<4xf32>
          affine.store %n{i}, %acc[{i}] : memref<4xvector<4xf32>>"""
            for i in range(4)
        )
        + f"""
        }}
        gpu.barrier
      }}
      affine.for %i = 0 to 4 {{
        %v = affine.load %acc[%i] : memref<4xvector<4xf32>>
        %relu = arith.maximumf %v, %zero : vector<4xf32>
        affine.vector_store %relu, %c[(%by * 64 + %row * 4 + %i) * {n} + %bx * 64 + %col * 4] {{alignment = 16}}
          : {c}, vector<4xf32>
      }}"""
    )
    return _module(
        f"@{name}({_input('a', m * k)}, {_input('b', k * n)}, {_output('c', m * n)})",
        f"%sa: {tile_a} {{llvm.align = 16 : i64}}, %sb: {tile_b} {{llvm.align = 16 : i64}}",
        256,
        body,
    )


def convolution(name: str, channels: int = 64, height: int = 56, width: int = 56, filters: int = 64) -> str:
    """3x3, stride 1, pad 1, with bias and ReLU: 8 x 32 pixels of 16 filters per block, 2 x 4 x 4 per thread."""
    planes, halo_width, pitch, step = 4, 34, 36, 16
    staged, weights = planes * 10 * halo_width, step * planes * 9
    x, w, y = (
        f"memref<{s}xf32, {_GLOBAL}>"
        for s in (channels * height * width, filters * channels * 9, filters * height * width)
    )
    image, kernel = f"memref<{planes}x10x{pitch}xf32, {_SHARED}>", f"memref<{planes * 9}x{step}xf32, {_SHARED}>"
    across = -(-width // 32)
    registers = "memref<4x2xvector<4xf32>>"
    taps = ""
    for s in range(3):
        for p in range(2):
            first, second = f"%i{p}", f"%i{p + 1}"
            lanes = ", ".join(str(s + lane) for lane in range(4))
            taps += f"\n          %t{s}_{p} = vector.shuffle {first}, {second} [{lanes}] : vector<4xf32>, vector<4xf32>"
        taps += (
            f"\n          %f{s} = affine.vector_load %sw[%c * 9 + %r * 3 + {s}, %group * 4] {{alignment = 16}}"
            f" : {kernel}, vector<4xf32>"
        )
        for k in range(4):
            taps += (
                f"\n          %e{s}_{k} = vector.extract %f{s}[{k}] : f32 from vector<4xf32>"
                f"\n          %b{s}_{k} = vector.broadcast %e{s}_{k} : f32 to vector<4xf32>"
            )
            for p in range(2):
                taps += (
                    f"\n          %a{s}_{k}_{p} = affine.load %acc[{k}, {p}] : {registers}"
                    f"\n          %n{s}_{k}_{p} = vector.fma %t{s}_{p}, %b{s}_{k}, %a{s}_{k}_{p} : vector<4xf32>"
                    f"\n          affine.store %n{s}_{k}_{p}, %acc[{k}, {p}] : {registers}"
                )
    body = f"""
      %t = gpu.thread_id x
      %bx = gpu.block_id x
      %by = gpu.block_id y
      %zero = arith.constant 0.0 : f32
      %zeros = arith.constant dense<0.0> : vector<4xf32>
      %acc = memref.alloca() : {registers}
      affine.for %k = 0 to 4 {{
        affine.for %p = 0 to 2 {{
          affine.store %zeros, %acc[%k, %p] : {registers}
        }}
      }}
      %top = affine.apply affine_map<()[b] -> ((b floordiv {across}) * 8)>()[%bx]
      %left = affine.apply affine_map<()[b] -> ((b mod {across}) * 32)>()[%bx]
      %group = affine.apply affine_map<()[t] -> (t floordiv 32)>()[%t]
      %row = affine.apply affine_map<()[t] -> ((t mod 32) floordiv 4)>()[%t]
      %start = affine.apply affine_map<()[t] -> ((t mod 4) * 8)>()[%t]
      affine.for %c0 = 0 to {channels} step {planes} {{
        affine.for %j = 0 to {-(-staged // 128)} {{
          %i = affine.apply affine_map<(j)[t] -> (j * 128 + t)>(%j)[%t]
          %ci = affine.apply affine_map<(i) -> (i floordiv {10 * halo_width})>(%i)
          %yi = affine.apply affine_map<(i) -> ((i mod {10 * halo_width}) floordiv {halo_width})>(%i)
          %xi = affine.apply affine_map<(i) -> (i mod {halo_width})>(%i)
          %gy = affine.apply affine_map<(y)[b] -> (y + b - 1)>(%yi)[%top]
          %gx = affine.apply affine_map<(x)[b] -> (x + b - 1)>(%xi)[%left]
          %v = affine.if affine_set<(y, x, i) : (y >= 0, {height - 1} - y >= 0, x >= 0, {width - 1} - x >= 0,
                                                 {staged - 1} - i >= 0)>(%gy, %gx, %i) -> f32 {{
            %l = affine.load %x[(%c0 + %ci) * {height * width} + %gy * {width} + %gx] : {x}
            affine.yield %l : f32
          }} else {{
            affine.yield %zero : f32
          }}
          affine.if affine_set<(i) : ({staged - 1} - i >= 0)>(%i) {{
            affine.store %v, %sx[%ci, %yi, %xi] : {image}
          }}
        }}
        affine.for %j = 0 to {-(-weights // 128)} {{
          %i = affine.apply affine_map<(j)[t] -> (j * 128 + t)>(%j)[%t]
          affine.if affine_set<(i) : ({weights - 1} - i >= 0)>(%i) {{
            %k = affine.apply affine_map<(i) -> (i mod {step})>(%i)
            %q = affine.apply affine_map<(i) -> (i floordiv {step})>(%i)
            %l = affine.load %w[(%by * {step} + %k) * {channels * 9} + %c0 * 9 + %q] : {w}
            affine.store %l, %sw[%q, %k] : {kernel}
          }}
        }}
        gpu.barrier
        affine.for %c = 0 to {planes} {{
          affine.for %r = 0 to 3 {{
          %i0 = affine.vector_load %sx[%c, %row + %r, %start] {{alignment = 16}} : {image}, vector<4xf32>
          %i1 = affine.vector_load %sx[%c, %row + %r, %start + 4] {{alignment = 16}} : {image}, vector<4xf32>
          %i2 = affine.vector_load %sx[%c, %row + %r, %start + 8] {{alignment = 16}} : {image}, vector<4xf32>
{taps}
          }}
        }}
        gpu.barrier
      }}
      %oy = arith.addi %top, %row : index
      affine.for %k = 0 to 4 {{
        %kk = affine.apply affine_map<(k)[b, g] -> (b * {step} + g * 4 + k)>(%k)[%by, %group]
        %b = affine.load %bias[%kk] : memref<{filters}xf32, {_GLOBAL}>
        %bs = vector.broadcast %b : f32 to vector<4xf32>
        affine.for %p = 0 to 2 {{
          %ox = affine.apply affine_map<(p)[x, s] -> (x + s + p * 4)>(%p)[%left, %start]
          %a = affine.load %acc[%k, %p] : {registers}
          %s = arith.addf %a, %bs : vector<4xf32>
          %relu = arith.maximumf %s, %zeros : vector<4xf32>
          affine.if affine_set<(y, x) : ({height - 1} - y >= 0, {width - 1} - x >= 0)>(%oy, %ox) {{
            affine.vector_store %relu, %y[%kk * {height * width} + %oy * {width} + %ox] {{alignment = 16}}
              : {y}, vector<4xf32>
          }}
        }}
      }}"""
    sizes = channels * height * width, filters * channels * 9, filters, filters * height * width
    arguments = [_input(n, s) for n, s in zip(("x", "w", "bias"), sizes, strict=False)] + [_output("y", sizes[3])]
    return _module(
        f"@{name}({', '.join(arguments)})",
        f"%sx: {image} {{llvm.align = 16 : i64}}, %sw: {kernel} {{llvm.align = 16 : i64}}",
        128,
        body,
    )


def cluster_exchange(name: str, rows: int = 8, blocks: int = 4) -> str:
    """In clusters of 4: y = x of the next block, then of the one before, through `rows` x 128 words of shared memory.

    own = x; barrier; theirs of the block before = own of the next one; barrier; y = theirs
    """
    tile, peer, size = f"memref<{rows}x128xf32, {_SHARED}>", f"memref<{rows}x128xf32, 7>", blocks * 128
    x = f"memref<{size}xf32, {_GLOBAL}>"
    body = f"""
      %t = gpu.thread_id x
      %b = gpu.block_id x
      %r = gpu.cluster_block_id x
      %v = affine.vector_load %x[%b * 128 + %t * 4] : {x}, vector<4xf32>
      affine.vector_store %v, %own[{rows - 1}, %t * 4] : {tile}, vector<4xf32>
      gpu.barrier scope <cluster>
      %after = affine.apply affine_map<(r) -> ((r + 1) mod 4)>(%r)
      %before = affine.apply affine_map<(r) -> ((r + 3) mod 4)>(%r)
      %next = "fusion.peer_memory"(%own, %after) : ({tile}, index) -> {peer}
      %w = affine.vector_load %next[{rows - 1}, %t * 4] : {peer}, vector<4xf32>
      %last = "fusion.peer_memory"(%theirs, %before) : ({tile}, index) -> {peer}
      affine.vector_store %w, %last[1, %t * 4] : {peer}, vector<4xf32>
      gpu.barrier scope <cluster>
      %u = affine.vector_load %theirs[1, %t * 4] : {tile}, vector<4xf32>
      affine.vector_store %u, %y[%b * 128 + %t * 4] : {x}, vector<4xf32>"""
    text = _module(
        f"@{name}({_input('x', size)}, {_output('y', size)})",
        f"%own: {tile} {{llvm.align = 16 : i64}}, %theirs: {tile} {{llvm.align = 16 : i64}}",
        32,
        body,
    )
    size_of_cluster = "gpu.known_cluster_size = array<i32: 4, 1, 1>, nvvm.cluster_dim = array<i32: 4, 1, 1>"
    return text.replace("nvvm.maxntid", f"{size_of_cluster}, nvvm.maxntid")
