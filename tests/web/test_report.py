"""PSA Report in the page: its picture is in the node, and its outputs can be linked to anything."""

import pytest

from .editor import Editor

pytest.importorskip("playwright.sync_api", reason="needs playwright")

SMALL = {"block_m": "64", "block_n": "32", "tail": "32"}


@pytest.mark.both
def test_the_picture_is_in_the_node(comfy, pytestconfig):
    editor = Editor(comfy, **SMALL, warmup_steps=1)
    links = {"model": comfy.model(), "preset": (editor.node, 0)}
    apply = comfy.add("PSAApply", (800, 130), links=links, min_tokens=0)
    sampled = comfy.sampler((apply, 0), steps=4, at=(1250, 1100))
    report = comfy.add("PSAReport", (1150, 130), links={"model": (apply, 0), "after": (sampled, 0)})
    # what comes out is taken for what went in
    comfy.add("SaveLatent", (1250, 1500), links={"samples": (report, 0)})
    assert len(comfy.prompt()) == 10
    comfy.run()
    shown = comfy.page.wait_for_function(
        """(id) => {
            const node = app.graph.nodes.find((n) => String(n.id) === id)
            const drawn = node.imgs?.[0] ?? document.querySelector(`[data-node-id="${id}"] img`)
            return drawn?.naturalWidth && [drawn.naturalWidth, drawn.naturalHeight]
        }""",
        arg=report,
    ).json_value()
    assert shown[0] == 1600 and shown[1] > 1000
    folder = pytestconfig.getoption("--screenshots")
    if folder:
        comfy.screenshot(f"{folder}/report-{comfy.renderer}.png")
