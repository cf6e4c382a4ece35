"""The page of `mlirfuse explain --html`: complete in itself, the same each time, and alive in a browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_models import saved, small_model
from headless_browser import INSTALL, Browser, executable

from mlirfuse.cli.main import main
from mlirfuse.explain import Explanation
from mlirfuse.explain.facts import Edge, Operator
from mlirfuse.explain.page import page

browser_needed = pytest.mark.skipif(executable() is None, reason=INSTALL)
NETWORK = "zoo:light/squeezenet"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The page of a network and its data."""
    folder = tmp_path_factory.mktemp("page")
    assert main(["explain", NETWORK, "--html", str(folder / "page.html"), "--json", str(folder / "page.json")]) == 0
    return folder / "page.html", json.loads((folder / "page.json").read_text())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def told(browser: Browser) -> str:
    return browser.evaluate("document.getElementById('details').innerText")


def test_the_page_is_complete_in_itself(network: tuple[Path, dict[str, Any]]) -> None:
    text = network[0].read_text()
    assert "default-src 'none'" in text and len(text) < 300_000
    outside = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[\w./-]*", re.sub(r"//[^\n]*$", "", text, flags=re.MULTILINE)))
    assert outside <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(?:link|img|iframe)\b|\bsrc=|@import|\bfetch\(|XMLHttpRequest", text)


def test_the_same_network_gives_the_same_bytes(network: tuple[Path, dict[str, Any]]) -> None:
    path, data = network
    assert page(Explanation.from_dict(data)) == path.read_text()


def test_names_cannot_break_out() -> None:
    name = "</script><script>alert(1)</script>@data@@js@"
    operator = Operator(0, "unary.relu", (name,), "one-to-one", (4,), "float32", 16, 4, "host", None, ())
    text = page(Explanation(name, "cpu", (operator,), (), (), ()))
    assert text.count("</script>") == 2 and text.count("<script>") == 1


@browser_needed
def test_a_click_on_a_group_shows_its_reason(network: tuple[Path, dict[str, Any]], browser: Browser) -> None:
    path, data = network
    browser.open(path)
    assert f"{data['totals']['launches']} launches" in browser.evaluate("document.body.innerText")
    drawn = browser.evaluate("['before', 'after'].map(id => document.querySelectorAll(`#${id} .node`).length)")
    ends = len(data["inputs"]) + len(data["outputs"])
    assert drawn == [len(data["operators"]) + ends, len(data["groups"]) + len(data["in_place"]) + ends]
    group = data["groups"][2]
    browser.click('#after [data-id="group 2"] rect')
    text = told(browser)
    members = set(group["operators"])
    edges = [e for e in data["edges"] if members & {e["producer_number"], e["consumer_number"]}]
    assert "Group 2" in text and group["mapping"] in text and group["kernel"] in text
    assert edges and all(edge["reason"] in text for edge in edges)
    assert browser.evaluate("document.querySelectorAll('#before .related').length") == len(members)
    assert not browser.problems


@browser_needed
def test_a_kernel_of_several_layers_tells_its_tile_stages_values_and_runner_up(
    tmp_path: Path, browser: Browser
) -> None:
    files = {name: str(tmp_path / f"page.{name}") for name in ("html", "json")}
    options = [f"--{name}={path}" for name, path in files.items()]
    assert main(["explain", NETWORK, "--target", "cuda:sm_90", *options]) == 0
    data = json.loads(Path(files["json"]).read_text())
    group = next(g for g in data["groups"] if g["reuse"] is not None)
    reuse, proof = group["reuse"], group["proof"]
    browser.open(Path(files["html"]))
    browser.evaluate(f"document.getElementById('query').value = 'group {group['number']}'")
    browser.evaluate("document.getElementById('find').requestSubmit()")
    text = told(browser)
    assert proof["reason"] in text and "runner-up" in text and "Computed tile by tile" in text
    by = lambda sizes: "x".join(map(str, sizes))  # noqa: E731
    assert f"{by(reuse['tile'])} of {by(reuse['frame'])}" in text and reuse["device"] in text
    assert all(f"box {by(stage['box'])}" in text for stage in reuse["stages"])
    assert "shared memory · stage" in text and "DRAM, read" in text and "DRAM, written" in text
    assert not browser.problems


@browser_needed
def test_edges_and_operators_tell_theirs(network: tuple[Path, dict[str, Any]], browser: Browser) -> None:
    path, data = network
    browser.open(path)
    browser.click("#before .edge.joined .hit")
    assert "are never stored" in told(browser)
    browser.click("#before .edge.apart .hit")
    assert any(edge["reason"] in told(browser) for edge in data["edges"])
    browser.click("#after .edge.apart .hit")
    assert any(edge["reason"] in told(browser) for edge in data["edges"])
    browser.click('#before [data-id="operator 0"] rect')
    assert data["operators"][0]["mapping"] in told(browser) and "group 0" in told(browser)
    assert not browser.problems


@browser_needed
def test_keys_move_zoom_find_and_clear(network: tuple[Path, dict[str, Any]], browser: Browser) -> None:
    path, data = network
    browser.open(path)
    browser.evaluate("document.querySelector('#after svg').focus()")
    browser.press("ArrowDown")
    assert f"Input {data['inputs'][0]['name']}" in told(browser)
    browser.press("ArrowDown")
    assert "Group 0" in told(browser)
    browser.press("ArrowUp")
    assert "Input" in told(browser)
    scale = "document.querySelector('#after svg > g').getAttribute('transform')"
    before = browser.evaluate(scale)
    browser.press("+")
    assert browser.evaluate(scale) != before
    browser.press("0")
    browser.press("/")
    assert browser.evaluate("document.activeElement.id") == "query"
    for letter in "group 4":
        browser.press(letter)
    browser.evaluate("document.getElementById('find').requestSubmit()")
    assert "Group 4" in told(browser)
    browser.press("Escape")
    assert "The whole network" in told(browser)
    assert not browser.problems


@browser_needed
def test_overrides_are_on_the_page(tmp_path: Path, browser: Browser) -> None:
    model = saved(tmp_path, small_model())
    assert main(["explain", model, "--no-fuse", "relu", "--html", str(tmp_path / "page.html")]) == 0
    browser.open(tmp_path / "page.html")
    assert "What --no-fuse relu costs" in told(browser)
    browser.click('#after [data-id="group 1"] rect')
    assert "relu is to stay alone" in told(browser)
    assert not browser.problems


@browser_needed
def test_two_thousand_operators_open_quickly(tmp_path: Path, browser: Browser) -> None:
    operators = [
        Operator(
            n, "unary.relu", (f"node_{n}",), "one-to-one", (4,), "float32", 16, 4, "host", None, (n - 1,) * (n > 0)
        )
        for n in range(2000)
    ]
    edges = [
        Edge((f"node_{n}",), (f"node_{n + 1}",), n, n + 1, "boundary", "outside", {"bytes": 16}) for n in range(1999)
    ]
    (tmp_path / "page.html").write_text(page(Explanation("long", "cpu", tuple(operators), (), tuple(edges), ())))
    browser.open(tmp_path / "page.html")
    assert browser.evaluate("performance.now()") < 30_000
    assert browser.evaluate("document.querySelectorAll('#before .node').length") == 2000
    assert not browser.problems
