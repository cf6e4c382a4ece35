"""How benchmarks/walks.py compares tiles alone with walks."""

import pytest
import walks

from mlirfuse.device import device_for


@pytest.fixture(scope="module")
def entry() -> dict:
    return walks.predicted("blocks/residual", device_for("intel-xe-lp"))


def test_the_best_of_all_is_no_slower_than_the_tile_alone(entry: dict) -> None:
    assert entry["alone"]["walk"] == 1 < entry["best"]["walk"]
    assert entry["best"]["seconds"] < entry["alone"]["seconds"]
    assert entry["best"]["again"] < entry["alone"]["again"]


def test_a_walk_that_is_slower_beyond_noise_is_told(entry: dict) -> None:
    measured = {way: {**entry[way], "noise": 0.02} for way in ("alone", "best")}
    assert not walks.is_slower(measured)
    measured["best"]["seconds"] = measured["alone"]["seconds"] * 1.01
    assert not walks.is_slower(measured)
    measured["best"]["seconds"] = measured["alone"]["seconds"] * 1.03
    assert walks.is_slower(measured)


def test_the_table_has_what_is_computed_in_walks(entry: dict) -> None:
    whole = {"block": "blocks/residual", "device": "intel-xe-lp", **entry}
    alone = {**whole, "device": "h200", "best": entry["alone"]}
    table = walks.table({"a": whole, "b": alone, "c": {"block": "blocks/excitation", "reason": "no tile of it fits"}})
    assert "| residual | intel-xe-lp |" in table and "h200" not in table
    assert "Of 2 pairs of a block and a device, these 1;" in table
