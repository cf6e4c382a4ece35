"""How benchmarks/reuse.py and blocks.py count and tell, and how networks are cut into blocks."""

import blocks
import pytest
import reuse
from network_blocks import blocks_of


def operators(reads, anchors):
    found = enumerate(reads)
    return [{"number": i, "reads": r, "mapping": "many-to-many" if i in anchors else "one-to-one"} for i, r in found]


def test_a_network_is_cut_where_all_of_it_passes() -> None:
    # conv, relu; conv, conv, add of the relu; relu; pool, fc
    network = operators([[], [0], [1], [2], [3, 1], [4], [5], [6]], {0, 2, 3, 6, 7})
    assert blocks_of(network) == [[0, 1], [2, 3, 4, 5], [6, 7]]


def test_two_branches_are_one_block() -> None:
    # a squeeze, two expands and what joins them; twice
    network = operators([[], [0], [0], [1, 2], [3], [4], [4], [5, 6]], {0, 1, 2, 4, 5, 6})
    assert blocks_of(network) == [[0], [1, 2, 3], [4], [5, 6, 7]]


@pytest.fixture(scope="module")
def fire() -> dict[str, dict]:
    return {f"blocks/fire {way}": reuse.measure("blocks/fire", way, "simulator:h200") for way in reuse.WAYS}


def test_bytes_are_predicted_and_counted(fire: dict[str, dict]) -> None:
    apart, joined = fire.values()
    squeezed = 4 * 16 * 55 * 55
    for entry in (apart, joined):
        assert entry["unequal"] == [] and entry["counted"] == entry["predicted"]
        assert entry["counted"]["weight"] < 50e3
    # the squeezed tensor is written once and read twice, one expanded one stored and read where the output is joined
    assert apart["counted"]["intermediate"] == 3 * squeezed + 2 * 4 * squeezed
    assert (joined["counted"]["intermediate"], joined["launches"]) == (0, 1)


def test_tables_compare_both_ways(fire: dict[str, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "NETWORKS", ("blocks/fire",))
    text = reuse.tables({key.replace("blocks/", "light/"): entry for key, entry in fire.items()} | fire)
    assert "| blocks/fire | no-cross-layer |" in text and "| 100.0% |" in text


def test_a_block_is_planned_for_a_device_and_as_one_kernel() -> None:
    entry = blocks.measure("blocks/fire", "h200")
    assert blocks.complaints_about(entry) == []
    assert entry["no-cross-layer"]["launches"] == 3 and entry["whole"]["dram_bytes"] <= entry["full"]["dram_bytes"]
    slow = {**entry, "full": {**entry["full"], "seconds": 1.0, "predicted_bytes": 1}}
    complaints = blocks.complaints_about(slow)
    assert "1 bytes predicted" in complaints[0] and "slower than its parts" in complaints[1]
    assert "| fire | h200 | 3 -> 1 |" in blocks.table({"blocks/fire h200": entry})
