"""PSA Self-test and PSA Compare say on the node what they found."""

import pytest
from PIL import Image

from ..nodes.moving_clip import moving
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect


def finished(comfy):
    comfy.queue()
    end = comfy.wait_for_event("execution_success", "execution_error")
    assert end["type"] == "execution_success", end


def picture_size(comfy, node):
    """[width, height] of the picture that the node shows, once it is there."""
    return comfy.page.wait_for_function(
        """(id) => {
            const node = app.graph.nodes.find((n) => String(n.id) === id)
            const drawn = node.imgs?.[0] ?? document.querySelector(`[data-node-id="${id}"] img`)
            return drawn?.naturalWidth && [drawn.naturalWidth, drawn.naturalHeight]
        }""",
        arg=node,
    ).json_value()


@pytest.mark.both
def test_the_self_test_is_read_on_the_node(comfy, pytestconfig):
    node = comfy.add("PSASelfTest", (120, 130))
    panel = comfy.panel(node)
    expect(panel).to_contain_text(say("said.nothing"))
    finished(comfy)
    expect(panel).to_contain_text("Result: all that can run here works")
    expect(panel.get_by_text("Triton", exact=False).first).to_be_visible()
    folder = pytestconfig.getoption("--screenshots")
    if folder:
        comfy.screenshot(f"{folder}/everywhere/self-test-{comfy.renderer}.png")


def test_the_comparison_is_read_on_the_node(comfy, server, pytestconfig):
    clip = moving(frames=1, height=64, width=96)
    names = []
    for name, frame in (("a", clip[0]), ("b", clip[0] * 0.9)):
        names.append(f"psa-said-{name}.png")
        pixels = (frame * 255).round().byte().numpy()
        Image.fromarray(pixels).save(server.base / "input" / names[-1])
    comfy.load_page()  # so that the new pictures are in the lists
    one, two = (comfy.add("LoadImage", (-300, 400 * i), image=x) for i, x in enumerate(names))
    node = comfy.add("PSACompare", (120, 130), links={"reference": (one, 0), "other": (two, 0)})
    difference = comfy.add("PreviewImage", (760, 130), links={"images": (node, 2)})
    pair = comfy.add("PreviewImage", (760, 480), links={"images": (node, 3)})
    finished(comfy)
    panel = comfy.panel(node)
    expect(panel).to_contain_text("1 frame of 96 x 64")
    expect(panel).to_contain_text("PSNR: ")
    expect(panel).to_contain_text("temporal difference: not available (it needs two frames)")
    assert picture_size(comfy, difference) == [96, 64]
    # the two frames, one beside the other
    width, height = picture_size(comfy, pair)
    assert width >= 2 * 96 and height == 64
    folder = pytestconfig.getoption("--screenshots")
    if folder:
        comfy.screenshot(f"{folder}/everywhere/compare-{comfy.renderer}.png")
