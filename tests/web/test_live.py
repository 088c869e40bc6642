"""Apply PSA shows what its run is doing, and afterwards what it did: in the server's own words."""

import re

import pytest

from .editor import Editor
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

SMALL = {"block_m": "64", "block_n": "32", "tail": "32"}
# every text that the line shows, as it changes
WATCH = """(line) => {
    window.psaTestShown = []
    const note = () => psaTestShown.push([line.textContent, line.parentElement.dataset.state])
    new MutationObserver(note).observe(line, {childList: true, characterData: true, subtree: true})
}"""


def line_of(comfy, node):
    return comfy.panel(node).locator(".psa-live")


@pytest.mark.both
def test_the_node_tells_of_its_run(comfy, pytestconfig):
    editor = Editor(comfy, **SMALL, warmup_steps=2)
    links = {"model": comfy.model(), "preset": (editor.node, 0)}
    apply = comfy.add("PSAApply", (800, 130), links=links, min_tokens=0)
    # long enough for some lines: there are at most four a second
    comfy.sampler((apply, 0), steps=60)
    line = line_of(comfy, apply)
    expect(line).to_be_hidden()
    line.locator(".psa-live-text").evaluate(WATCH)
    report = comfy.run()
    expect(line).to_have_attribute("data-state", "sparse")
    expect(line).to_contain_text(
        f"60 steps: {report['calls']['sparse']} of 120 self-attention calls sparse"
    )
    expect(line.locator("progress")).to_be_hidden()
    shown = comfy.page.evaluate("psaTestShown")
    running = [re.fullmatch(r"step (\d+)/60, (dense \(warm-up\)|sparse.*)", t) for t, _ in shown]
    assert all(running[:-1]) and running[0][1] == "1" and running[-1] is None
    steps = [int(match[1]) for match in running[:-1]]
    assert len(steps) > 2 and steps == sorted(steps)
    assert shown[0][1] == "dense"
    density = f"{report['density']:.0%} density"
    assert any(density in text and state == "sparse" for text, state in shown[:-1])
    folder = pytestconfig.getoption("--screenshots")
    if folder:
        comfy.screenshot(f"{folder}/live.png", line.bounding_box())


def test_a_run_that_stays_dense_says_why(comfy):
    loader = comfy.add("PSAPresetLoader", (100, 130), family="Wan2.1_1.3b", preset="fast")
    links = {"model": comfy.model(), "preset": (loader, 0)}
    apply = comfy.add("PSAApply", (500, 130), links=links)
    comfy.sampler((apply, 0), steps=8)
    comfy.run()
    line = line_of(comfy, apply)
    expect(line).to_have_attribute("data-state", "dense")
    # the tiny video has fewer tokens than the node's own limit
    expect(line).to_contain_text("fewer than min_tokens")
    expect(comfy.panel(apply).get_by_role("group", name=say("plan.title"))).to_be_visible()


def test_a_node_in_a_subgraph_is_told_too(comfy):
    """The server calls it by the way to it, "12:7"."""
    editor = Editor(comfy, **SMALL, warmup_steps=1)
    links = {"model": comfy.model(), "preset": (editor.node, 0)}
    apply = comfy.add("PSAApply", (800, 130), links=links, min_tokens=0)
    comfy.sampler((apply, 0), steps=3)
    comfy.page.evaluate(
        """(id) => {
            const node = app.graph.nodes.find((n) => String(n.id) === id)
            const {subgraph} = app.graph.convertToSubgraph(new Set([node]))
            window.psaInner = () => subgraph.nodes.find((n) => n.comfyClass === 'PSAApply')
        }""",
        apply,
    )
    report = comfy.run()
    shown = comfy.page.wait_for_function("psaInner().psaApply.live.text.textContent").json_value()
    assert shown.startswith("3 steps: 4 of 6 self-attention calls sparse")
    assert report["calls"]["sparse"] == 4
