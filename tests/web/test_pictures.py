"""What the editor looks like: pictures for the docs, and nothing that sticks out of its place.

    pytest tests/web/test_pictures.py --screenshots docs/editor

writes the pictures of docs/editor.md anew; every frontend, theme and width goes to everywhere/
beside them.
"""

import io
import json
from pathlib import Path

import pytest

from ..pack_import import ROOT
from .editor import Editor
from .gpu import on_gpu
from .manager import Manager, load
from .pointer import box_at_rest

FAMILY = "Wan2.1_1.3b"
# Elements of the panel whose content is wider than they are, or that reach out of the panel.
STICKING_OUT = """(root) => {
    const panel = root.getBoundingClientRect()
    const clips = (e) => /auto|scroll/.test(getComputedStyle(e).overflowX)
    const found = []
    for (const element of root.querySelectorAll('*')) {
        const box = element.getBoundingClientRect()
        if (!box.width || element.closest('svg') || element.closest('[aria-hidden=true]')) continue
        let inside = element.parentElement
        while (inside !== root && !clips(inside)) inside = inside.parentElement
        if (inside === root && (box.left < panel.left - 1 || box.right > panel.right + 1))
            found.push(`${element.className} reaches out`)
        const style = getComputedStyle(element)
        if (style.overflowX === 'visible' && element.scrollWidth > element.clientWidth + 1
            && style.display !== 'inline')
            found.push(`${element.className} is too narrow for ${element.textContent.slice(0, 40)}`)
    }
    return found
}"""

# every preset in sight has its small picture
THUMBNAILS = """() => {
    const sight = document.querySelector('.psa-manager-items').getBoundingClientRect()
    return [...document.querySelectorAll('.psa-item-bar')].every((bar) => {
        const {top, bottom} = bar.getBoundingClientRect()
        return bar.firstChild || bottom < sight.top || top > sight.bottom
    })
}"""


@pytest.fixture
def picture(pytestconfig, tmp_path):
    """picture(page, name, clip) keeps a picture of at most 256 colours; its size in pixels."""

    def picture(page, name, clip=None):
        from PIL import Image

        image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
        path = Path(pytestconfig.getoption("--screenshots") or tmp_path) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = image.quantize(256, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
        assert len(image.getcolors(1 << 24)) > 20, "nothing to see"
        return image.size

    return picture


def box(locators, margin=12):
    """The rectangle around some elements."""
    boxes = [box_at_rest(locator) for locator in locators]
    left, top = min(b["x"] for b in boxes), min(b["y"] for b in boxes)
    right = max(b["x"] + b["width"] for b in boxes)
    bottom = max(b["y"] + b["height"] for b in boxes)
    return {"x": max(0, left - margin), "y": max(0, top - margin),
            "width": right - left + 2 * margin, "height": bottom - top + 2 * margin}  # fmt: skip


def settle(editor):
    """Until the server's figures are there and messages are gone."""
    editor.wait_for_figures()
    without_messages(editor.page)
    box_at_rest(editor.scope)


def without_messages(page):
    """They would go by themselves, some time."""
    page.evaluate("document.querySelector('.psa-toast .psa-icon-button')?.click()")


@pytest.mark.parametrize(("theme", "width"), [("dark", 460), ("light", 900)])
def test_nothing_sticks_out(server, combination, open_page, picture, theme, width):
    comfy = open_page(server, combination[1], theme=theme, size=(1200, 1900))
    editor = Editor(comfy, size=(width, 100))
    load(editor, FAMILY, "psa_balanced")
    if width > 460:
        editor.show_yaml()
    closed = editor.scope.locator(".psa-section-head[aria-expanded=false]")
    while closed.count():
        closed.first.click()
    settle(editor)
    root = editor.scope.element_handle()
    assert comfy.page.evaluate(STICKING_OUT, root) == []
    name = "-".join([*combination, theme, str(width)])
    picture(comfy.page, f"everywhere/{name}", box([editor.scope], margin=0))


@pytest.mark.parametrize("scale", [1, 2])
def test_the_editor(server, combination, open_page, picture, scale):
    comfy = open_page(server, combination[1], size=(1300, 1000), scale=scale)
    on_gpu(comfy, measured=False)
    editor = Editor(comfy, size=(900, 100))
    load(editor, FAMILY, "balanced")
    editor.show_yaml()
    settle(editor)
    name = "editor" if scale == 2 else "everywhere/editor-1x"
    width, _ = picture(comfy.page, name, box([editor.scope], margin=0))
    assert width > 850 * scale


def test_a_problem(server, combination, open_page, picture):
    comfy = open_page(server, combination[1], size=(1300, 1300))
    editor = Editor(comfy)
    load(editor, FAMILY, "balanced")
    editor.switch("use_sim_mask")
    editor.summary.wait_for()
    editor.row("use_sim_mask").get_by_role("button", name="drop the mask").wait_for()
    without_messages(comfy.page)
    picture(comfy.page, "problem", box([editor.scope], margin=0))


def test_the_manager(server, combination, open_page, picture):
    comfy = open_page(server, combination[1], size=(1100, 800), theme="light")
    comfy.ask(
        "PUT",
        f"presets/{FAMILY}/night",
        {"config": {"tail": 32, "description": "What I use at night."}, "expected": None},
    )
    manager = Manager.of_editor(Editor(comfy))
    manager.search("night")
    manager.item(FAMILY, "night").click()
    manager.search("Wan2.1_1.3b")
    manager.dialog.get_by_text("What I use at night.").first.wait_for()
    comfy.page.wait_for_function(THUMBNAILS)
    picture(comfy.page, "manager", box([manager.dialog], margin=0))


def test_the_plan(server, combination, open_page, picture):
    comfy = open_page(server, combination[1], size=(1500, 900))
    on_gpu(comfy, measured=False)
    loader = comfy.add("PSAPresetLoader", (80, 120), family=FAMILY, preset="balanced")
    apply = comfy.add("PSAApply", (480, 120), links={"preset": (loader, 0)})
    comfy.add("KSampler", (880, 120), links={"model": (apply, 0)}, steps=20)
    comfy.add("EmptyHunyuanLatentVideo", (880, 430), width=832, height=480, length=81)
    panel = comfy.panel(apply)
    request = {"preset": {"family": FAMILY, "preset": "balanced"}, "family": FAMILY, "steps": 20}
    panel.get_by_text(comfy.ask("POST", "plan", request)["text"]).wait_for()
    panel.get_by_text("PSA Self-test").wait_for()
    comfy.wait_until_fitting(apply)
    picture(comfy.page, "plan", {"x": 60, "y": 80, "width": 1150, "height": 610})


MODEL_FILES = {
    "diffusion_models": "wan2.1_t2v_1.3B_fp16.safetensors",
    "text_encoders": "umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "vae": "wan_2.1_vae.safetensors",
}
# [left, top, right, bottom] of what all nodes take up, in the graph's units
ALL_NODES = """() => {
    const top = app.canvas.ds.offset[1]
    const boxes = app.graph.nodes.map((node) => {
        const [x, y, width, height] = node.getBounding()
        const vue = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect()
        return [x, y, x + width, Math.max(y + height, vue ? vue.bottom - top : 0)]
    })
    return [Math.min, Math.min, Math.max, Math.max].map((f, i) => f(...boxes.map((b) => b[i])))
}"""


@pytest.fixture
def model_files(server):
    """Files of the names that the shipped workflow asks for; nobody reads them."""
    paths = [server.base / "models" / folder / name for folder, name in MODEL_FILES.items()]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    yield
    for path in paths:
        path.unlink()


def test_the_graph(server, combination, open_page, picture, model_files):
    """The shipped workflow before a run, without PSA Report's room for its picture."""
    comfy = open_page(server, combination[1], size=(1950, 1150), scale=1.5)
    on_gpu(comfy, measured=False)
    shipped = json.loads((ROOT / "example_workflows" / "wan2.1_t2v_psa.json").read_text("utf-8"))
    kinds = {node["type"]: node for node in shipped["nodes"]}
    kinds["PSAReport"]["size"] = [290, 130]
    comfy.load_workflow(shipped)
    left, top = 100, 160
    comfy.view(offset=(left, top))
    apply = str(kinds["PSAApply"]["id"])
    comfy.panel(apply).get_by_text("PSA Self-test").wait_for()
    comfy.wait_until_fitting(apply)
    box_at_rest(comfy.panel(apply))
    margin = 24
    x, y, right, bottom = comfy.page.evaluate(ALL_NODES)
    clip = {"x": left + x - margin, "y": top + y - margin,
            "width": right - x + 2 * margin, "height": bottom - y + 2 * margin}  # fmt: skip
    picture(comfy.page, "../graph", clip)
