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
    assert not walks.is_slower(entry) and walks.noise(entry) == 0
    noisy = {**entry, "turns": [[1.0, 0.9], [1.0, 1.01], [1.0, 1.1], [1.0, 1.02]]}
    assert walks.faster(noisy) < 1 < walks.faster(noisy) * (1 + walks.noise(noisy))
    assert not walks.is_slower(noisy)
    steady = {**entry, "turns": [[1.0, 1.03], [1.1, 1.13], [1.0, 1.04]]}
    assert walks.is_slower(steady)


def test_the_table_has_what_is_computed_in_walks(entry: dict) -> None:
    whole = {"block": "blocks/residual", "device": "intel-xe-lp", **entry}
    alone = {**whole, "device": "h200", "best": entry["alone"]}
    table = walks.table({"a": whole, "b": alone, "c": {"block": "blocks/excitation", "reason": "no tile of it fits"}})
    assert "| residual | intel-xe-lp |" in table and "h200" not in table
    assert "Of 2 pairs of a block and a device, these 1;" in table
