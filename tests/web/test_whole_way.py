"""The whole way of a preset: made with the mouse, stored, found again, sampled with."""

import pytest
import yaml

from .editor import Editor
from .manager import Manager
from .pointer import drag_by_mouse
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

FAMILY = "Wan2.1_1.3b"


@pytest.mark.everywhere
def test_drag_mend_save_reload_find_load_queue(comfy):
    editor = Editor(comfy, block_m="64", block_n="32", tail="32")
    start = editor.ends()[8]
    drag_by_mouse(comfy.page, editor.knob(8), 80)
    end = editor.ends()[8]
    assert end > start
    editor.switch("use_sim_mask")
    editor.row("use_sim_mask").get_by_role("button", name="drop the mask").click()
    editor.open_section("warmup_steps")
    editor.field("warmup_steps").fill("2")
    expect(editor.summary).to_be_hidden()
    editor.save_as(FAMILY, "dusk")
    expect(editor.source).to_contain_text(f"{FAMILY} / dusk")
    expect(editor.unsaved).to_be_hidden()

    file = comfy.server.base / "user" / "default" / "psa" / "presets"
    (text,) = (path.read_text(encoding="utf-8") for path in file.glob("*.yaml"))
    stored = yaml.safe_load(text)[FAMILY]["attention_configs"]["dusk"]
    assert stored["warmup_steps"] == 2
    assert stored["mask_ratios"][8][1] == end

    comfy.load_page()
    loader = comfy.add("PSAPresetLoader", (100, 130))
    manager = Manager.of_loader(comfy, loader)
    manager.search("dusk")
    manager.item(FAMILY, "dusk").click()
    manager.use()
    comfy.wait_for_widgets(loader, family=FAMILY, preset="dusk")
    apply = comfy.add(
        "PSAApply", (800, 130), links={"model": comfy.model(), "preset": (loader, 0)}, min_tokens=0
    )
    comfy.sampler((apply, 0))
    plan = comfy.panel(apply).get_by_role("group", name=say("plan.title"))
    expect(plan.get_by_role("img")).to_have_accessible_name(
        "4 steps: 1-2 dense (warm-up), 3-4 sparse"
    )
    report = comfy.run()
    assert report["preset"] == f"{FAMILY}/dusk"
    assert report["plan"] == ["dense", "dense", "sparse", "sparse"]
    assert report["calls"]["sparse"] == 4
