"""The instructions counted in machine code, and the cost model's constants held to them."""

import dataclasses

import instructions
import pytest
from instructions import Count, fitted, model_constants, read_counts
from measured import RESULTS
from sass import Code, Span, disassembler

from mlirfuse.lowering.groups.gpu_stages import efficiency
from mlirfuse.lowering.groups.register_tile import RegisterTile
from mlirfuse.lowering.nvvm import ptxas

COUNTS = read_counts(RESULTS / "instructions.json")
KINDS = ("slice", "part", "map", "team")
LISTING = """
.text.kernel:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
.L_x_0:
        /*0020*/              @!P0 LDG.E R2, desc[UR4][R2.64] ;
        /*0030*/                   FFMA R3, R2, R2, R3 ;
        /*0040*/                   FFMA R3, R2, R2, R3 ;
        /*0050*/               @P1 BRA `(.L_x_0) ;
        /*0060*/               @P2 BRA `(.L_x_1) ;
        /*0070*/                   EXIT ;
.L_x_2:
        /*0080*/                   BRA `(.L_x_2);
        /*0090*/                   NOP;
"""


def test_loops_are_found_and_padding_is_left_out() -> None:
    code = Code.of_listing(LISTING)
    assert len(code.instructions) == 8 and code.loops == (Span(2, 6), Span(1, 7))
    assert code.count("FFMA") == 2 and code.count("LDG") == 1 and code.count("BRA", Span(2, 6)) == 1
    assert code.innermost(lambda s: code.count("BAR", s) > 0) == [Span(1, 7)]
    assert code.innermost(lambda s: code.count("FFMA", s) > 0) == [Span(2, 6)]


def test_inner_loops_count_as_often_as_they_run() -> None:
    code = Code.of_listing(LISTING)
    assert code.issued(Span(1, 7), "FFMA", 2) == 6
    assert code.issued(Span(1, 7), "FFMA", 10) == 2 + 5 * 4
    assert code.issued(Span(2, 6), "FFMA", 2) == 4  # one turn of the innermost


def test_constants_are_found_again_in_counts_made_of_them() -> None:
    constants = {name: 3.0 + i for i, name in enumerate(instructions.CONSTANTS)}
    made = [dataclasses.replace(c, issued=c.predicted(constants)) for c in COUNTS]
    assert fitted(made) == pytest.approx(constants)


def test_model_has_the_constants_that_were_fitted() -> None:
    found, own = fitted(COUNTS), model_constants()
    for name, value in found.items():
        assert own[name] == pytest.approx(value, rel=0.1, abs=0.25), name


@pytest.mark.parametrize("count", [c for c in COUNTS if c.kind == "slice"], ids=lambda c: f"{c.kernel} {c.kept}")
def test_efficiency_of_register_tiles_is_that_of_the_machine_code(count: Count) -> None:
    block, rest = count.kernel.split(" of ")
    thread, fetch = rest.split(" ", 1)
    tile = RegisterTile(*map(int, block.split("x")), *map(int, thread.split("x")))
    products = tile.thread_m * tile.thread_n * tile.block_k / tile.k_groups
    name = instructions.FETCHES.get(fetch)
    found = efficiency(tile, model_constants()[name] if name else 0.0)
    assert found == pytest.approx(products / count.issued, rel=0.1)
    assert count.spill_bytes == 0


@pytest.mark.parametrize(
    "count", [c for c in COUNTS if c.kind in ("map", "team")], ids=lambda c: f"{c.kernel} {c.kept}"
)
def test_elements_take_what_the_model_says(count: Count) -> None:
    assert count.predicted(model_constants()) == pytest.approx(count.issued, rel=0.3)


def test_every_kind_was_counted() -> None:
    assert {c.kind for c in COUNTS} == set(KINDS)
    assert {c.kind for c in COUNTS if c.kept} == {"slice", "map"}


@pytest.mark.skipif(disassembler() is None or not ptxas.available(), reason="ptxas and nvdisasm are not installed")
def test_counts_are_those_of_the_kernels_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "64x64x8 of 4x4 quads"
    monkeypatch.setattr(instructions, "SHAPES", ((64, 64, 8, 4, 4),))
    monkeypatch.setattr(instructions, "SLICED", ())
    monkeypatch.setattr(instructions, "FETCHES", {"quads": "QUAD_FETCH"})
    (found,) = (c for c in instructions.tiles("sm_90") if c.kind == "slice")
    (recorded,) = (c for c in COUNTS if c.kind == "slice" and c.kernel == name and not c.kept)
    assert found.issued == pytest.approx(recorded.issued, rel=0.1)
