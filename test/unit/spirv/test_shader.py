"""Shaders made of kernels: what SPIR-V for Vulkan must have that PTX does not need."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mlirfuse.lowering.spirv.shader import MOST_BLOCKS, make_shader
from mlirfuse.lowering.spirv.starts import place_kernels, tell_starts
from mlirfuse.mlir import ir

MAGIC = (0x07230203).to_bytes(4, "little")


def kernel(body: str, blocks: int = 4, workgroup: str = "") -> str:
    return f"""
            module attributes {{gpu.container_module}} {{ gpu.module @kernels {{
              gpu.func @k(%x: memref<1024xf32, #gpu.address_space<global>> {{llvm.noalias}},
                          %y: memref<1024xf32, #gpu.address_space<global>> {{llvm.noalias}}) {workgroup}
                kernel attributes {{gpu.known_block_size = array<i32: 64, 1, 1>,
                                    gpu.known_grid_size = array<i32: {blocks}, 1, 1>}} {{
                %t = gpu.thread_id x
                {body}
                gpu.return }} }} }}"""


def shader(body: str, blocks: int = 4, workgroup: str = "", subgroup: int = 0) -> object:
    with ir.Context(), ir.Location.unknown():
        return make_shader(kernel(body, blocks, workgroup), subgroup)


def shuffled(distance: int) -> str:
    return f"""%v = memref.load %x[%t] : memref<1024xf32, #gpu.address_space<global>>
        %o = arith.constant {distance} : i32
        %w = arith.constant 32 : i32
        %s, %p = gpu.shuffle xor %v, %o, %w : f32
        memref.store %s, %y[%t] : memref<1024xf32, #gpu.address_space<global>>"""


COPY = """%v = memref.load %x[%t] : memref<1024xf32, #gpu.address_space<global>>
          memref.store %v, %y[%t] : memref<1024xf32, #gpu.address_space<global>>"""


def test_a_shader_is_a_binary_with_an_entry_point() -> None:
    made = shader(COPY)
    assert made.spirv.startswith(MAGIC) and len(made.spirv) % 4 == 0
    assert (made.entry, made.grid, made.capabilities) == ("k", (4, 1, 1), ())
    assert 'spirv.EntryPoint "GLCompute" @k' in made.text and '"LocalSize", 64, 1, 1' in made.text


def test_vectors_are_taken_apart() -> None:
    made = shader("""%c4 = arith.constant 4 : index
        %i = arith.muli %t, %c4 : index
        %v = vector.load %x[%i] : memref<1024xf32, #gpu.address_space<global>>, vector<4xf32>
        %w = arith.addf %v, %v : vector<4xf32>
        vector.store %w, %y[%i] : memref<1024xf32, #gpu.address_space<global>>, vector<4xf32>""")
    assert len(re.findall(r"spirv\.Load \"StorageBuffer\"", made.text)) == 4
    assert made.text.count("spirv.FAdd") == 4


@pytest.mark.parametrize(("distance", "subgroup"), [(1, 0), (8, 8), (16, 8)])
def test_lanes_beyond_a_subgroup_exchange_values_through_workgroup_memory(distance: int, subgroup: int) -> None:
    made = shader(shuffled(distance), subgroup=subgroup)
    assert made.text.count("spirv.ControlBarrier") == 2
    assert re.search(r"!spirv\.array<64 x f32[^>]*>.*Workgroup", made.text)
    assert (made.capabilities, made.subgroup) == ((), 0)


@pytest.mark.parametrize(("distance", "subgroup"), [(1, 8), (4, 8), (8, 16), (16, 32)])
def test_lanes_of_a_subgroup_exchange_values_without_memory(distance: int, subgroup: int) -> None:
    made = shader(shuffled(distance), subgroup=subgroup)
    assert "spirv.GroupNonUniformShuffleXor <Subgroup>" in made.text
    assert "ControlBarrier" not in made.text and made.workgroup_bytes == 0
    assert made.capabilities == ("GroupNonUniform", "GroupNonUniformShuffle") and made.subgroup == subgroup


@pytest.mark.skipif(shutil.which("spirv-val") is None, reason="spirv-val is not installed: apt-get install spirv-tools")
@pytest.mark.parametrize("subgroup", [0, 8])
def test_a_shader_that_exchanges_values_is_valid_for_vulkan(subgroup: int, tmp_path: Path) -> None:
    path = tmp_path / "shader.spv"
    path.write_bytes(shader(shuffled(4), subgroup=subgroup).spirv)
    told = subprocess.run(["spirv-val", "--target-env", "vulkan1.1", path], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr


def test_a_constant_that_is_no_number_is_spelt_in_bits() -> None:
    made = shader("""%c = arith.constant 0xFF800000 : f32
        memref.store %c, %y[%t] : memref<1024xf32, #gpu.address_space<global>>""")
    assert "spirv.Bitcast" in made.text and "spirv.Constant 0xFF800000 : f32" not in made.text


@pytest.mark.parametrize("blocks", [MOST_BLOCKS, MOST_BLOCKS + 1, 3 * MOST_BLOCKS + 17])
def test_a_large_grid_is_folded_and_covers_every_block(blocks: int) -> None:
    body = """%b = gpu.block_id x
        %v = memref.load %x[%b] : memref<1024xf32, #gpu.address_space<global>>
        memref.store %v, %y[%t] : memref<1024xf32, #gpu.address_space<global>>"""
    x, y, z = shader(body, blocks).grid
    assert max(x, y, z) <= MOST_BLOCKS and y == 1
    assert blocks <= x * z < blocks + z
    assert (z == 1) == (blocks <= MOST_BLOCKS)


def test_an_argument_that_starts_inside_its_binding_is_read_from_there() -> None:
    text = tell_starts(kernel(COPY), (3, 0))
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True
        made = make_shader(text)
    assert "!spirv.array<1027 x f32" in made.text and "!spirv.array<1024 x f32" in made.text


def test_a_kernel_with_several_starts_becomes_several() -> None:
    def launch(offset: int) -> dict:
        return {"op": "launch", "kernel": "k", "args": [{"offset": offset, "dtype": "float32"}] * 2}

    steps = [launch(0), launch(8), launch(256), launch(264)]
    texts = place_kernels({"k": kernel(COPY)}, steps)
    assert [s["kernel"] for s in steps] == ["k", "k_from_2_2", "k", "k_from_2_2"]
    assert list(texts) == ["k", "k_from_2_2"]
    assert all(f"@{name}(" in text for name, text in texts.items())
