"""Workflows with the editor in them: readable, stable, loadable when older than a field."""

import json
import re

import pytest

from ..pack_import import ROOT
from .editor import Editor
from .gpu import on_gpu
from .pointer import box_at_rest, drag_by_mouse
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

NODES = ("PSAPresetEditor", "PSAPresetLoader", "PSAApply")
# [type, left, top, right, bottom] of every node with its title, in the graph's units
BOXES = """() => app.graph.nodes.map((node) => {
    const [left, top] = [node.pos[0], node.pos[1] - LiteGraph.NODE_TITLE_HEIGHT]
    const vue = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect()
    const {scale} = app.canvas.ds
    const [width, height] = vue ? [vue.width / scale, vue.height / scale]
        : [node.size[0], node.size[1] + LiteGraph.NODE_TITLE_HEIGHT]
    return [node.type, left, top, left + width, top + height]
})"""
# what a face asks for first is there
READY = """async (id) => {
    const node = app.graph.nodes.find((n) => String(n.id) === id)
    await (node.psaEditor ?? node.psaLoader ?? node.psaApply).ready
    return true
}"""
IN_TWO_FRAMES = "() => (window.psaFrames = (window.psaFrames ?? 0) + 1) > 2"


def settled(comfy, editor):
    """The workflow's file, once all nodes hold what they ask for and are as high as that."""
    editor.wait_for_figures()
    for node in comfy.workflow()["nodes"]:
        if node["type"] in NODES:
            comfy.page.wait_for_function(READY, arg=str(node["id"]))
            comfy.wait_until_fitting(str(node["id"]))
    return comfy.workflow()


def saved(comfy, kind):
    """The node of a kind as the workflow's file has it."""
    (node,) = (node for node in comfy.workflow()["nodes"] if node["type"] == kind)
    return node


@pytest.mark.both
def test_a_workflow_holds_plain_values_and_comes_back_as_it_was(comfy):
    plain = Editor(comfy)
    expected = plain.widgets()
    plain.open_section("warmup_steps")
    plain.field("warmup_steps").fill("3")
    plain.wait_for(warmup_steps=3)
    plain.fold_section("warmup_steps")  # folded again on the next visit anyway
    expected["warmup_steps"] = 3
    for kind in NODES[1:]:
        comfy.panel(comfy.add(kind, (900, 130)))

    editor = saved(comfy, "PSAPresetEditor")
    assert editor["widgets_values"] == list(expected.values()), "nothing but the plain widgets"
    for kind in NODES:
        node = saved(comfy, kind)
        # what the page remembers with a node: names and numbers, never a preset
        ours = {k: v for k, v in node["properties"].items() if k.startswith("psa_")}
        assert len(json.dumps(ours)) < 300, ours
        assert all(isinstance(value, str | int | float | bool) for value in node["widgets_values"])
    comfy.add("SaveLatent", (900, 700), links={})
    assert comfy.prompt()[plain.node]["inputs"].keys() == expected.keys()

    workflow = settled(comfy, plain)
    comfy.load_page()
    comfy.load_workflow(workflow)
    again = Editor(comfy, node=plain.node)
    assert again.widgets() == expected
    loaded = settled(comfy, again)
    for kind in NODES:
        (before,) = (n for n in workflow["nodes"] if n["type"] == kind)
        (after,) = (n for n in loaded["nodes"] if n["type"] == kind)
        assert after["widgets_values"] == before["widgets_values"]
        assert after["properties"] == before["properties"]
        assert after["size"] == pytest.approx(before["size"], abs=1)


@pytest.mark.both
def test_a_workflow_from_before_a_field_was_added_loads(comfy):
    """A saved list of values that ends early: the fields it lacks get their defaults."""
    editor = Editor(comfy, warmup_steps=3)
    names, values = zip(*editor.widgets().items(), strict=True)
    workflow = comfy.workflow()
    (node,) = workflow["nodes"]
    kept = names.index("warmup_steps") + 1
    assert kept < len(names), "the test needs a field after this one"
    node["widgets_values"] = node["widgets_values"][:kept]
    comfy.load_workflow(workflow)
    again = Editor(comfy, node=editor.node)
    assert again.widgets() == dict(zip(names, values, strict=True))
    expect(again.summary).to_be_hidden()


# the widgets of the first version's editor, by place
FIRST_VERSION = {
    "type": "psa", "description": "from before", "use_rearrange": True,
    "rearrange_method": "Gilbert", "tile_depth": 2, "tile_height": 8, "tile_width": 8,
    "block_m": "128", "block_n": "128", "tile_n": "32", "mask_mode": "topk", "level_1_to": 0.1,
    "level_2_to": 0.1, "level_4_to": 0.1, "level_8_to": 0.3, "tail": "64", "second_moment": True,
    "importance": "sub_block", "attn_impl": "old_mask_type", "use_sim_mask": True,
    "sim_2x_threshold": 0.5, "sim_4x_threshold": 0.25, "sim_8x_threshold": 0.0, "warmup_steps": 3,
    "verbose": True, "yaml_overrides": "tail: 16\n",
}  # fmt: skip


def test_a_workflow_of_the_first_version_loads_with_the_same_values(comfy):
    editor = Editor(comfy)
    workflow = comfy.workflow()
    (node,) = workflow["nodes"]
    node["widgets_values"] = list(FIRST_VERSION.values())
    comfy.load_workflow(workflow)
    again = Editor(comfy, node=editor.node)
    found = again.widgets()
    assert found == {
        **FIRST_VERSION, "grouping": "order", "refresh": 4, "qk": "half", "value_sums": "float32",
    }  # fmt: skip
    assert list(found)[: len(FIRST_VERSION)] == list(FIRST_VERSION)


def test_a_prompt_made_without_the_browser_is_the_same(comfy):
    """API prompts that leave fields out mean the defaults, as they always did."""
    editor = Editor(comfy)
    whole = comfy.ask("POST", "validate", {"widgets": editor.plain_values()})
    nothing = comfy.ask("POST", "validate", {"widgets": {}})
    assert whole["config"] == nothing["config"]


def test_the_shipped_workflow_opens_with_its_faces(comfy):
    shipped = json.loads((ROOT / "example_workflows" / "wan2.1_t2v_psa.json").read_text("utf-8"))
    comfy.load_workflow(shipped)
    (loader,) = (str(n["id"]) for n in shipped["nodes"] if n["type"] == "PSAPresetLoader")
    (apply,) = (str(n["id"]) for n in shipped["nodes"] if n["type"] == "PSAApply")
    expect(comfy.panel(loader).get_by_role("button", name=say("loader.browse"))).to_be_attached()
    plan = comfy.panel(apply).get_by_role("group", name=say("plan.title"))
    expect(plan.get_by_role("img")).to_be_attached()


@pytest.mark.both
@pytest.mark.parametrize("path", ["wan2.1_t2v_psa.json", "demo/psa_demo.json"])
def test_no_node_of_a_shipped_workflow_covers_another(comfy, path):
    """Also when Apply PSA has all its lines: plan, estimate and what its run did."""
    on_gpu(comfy)
    comfy.load_workflow(json.loads((ROOT / "example_workflows" / path).read_text("utf-8")))
    apply = comfy.page.evaluate("String(app.graph.findNodesByType('PSAApply')[0].id)")
    plan = comfy.panel(apply)
    if "demo" not in path:  # whose clips are too short for an estimate
        expect(plan.locator(".psa-run")).to_be_visible()
    did = "30 steps: 1320 of 1800 self-attention calls sparse at 33% density, attention 3.1x"
    comfy.page.evaluate(
        "(text) => app.graph.findNodesByType('PSAApply')[0]"
        ".psaApply.live.finished({state: 'sparse', text})",
        f"{did} the speed of dense",
    )
    expect(plan).to_contain_text(did)
    comfy.wait_until_fitting(apply)
    boxes = comfy.page.evaluate(BOXES)
    for i, (a, left, top, right, bottom) in enumerate(boxes):
        for b, left_2, top_2, right_2, bottom_2 in boxes[i + 1 :]:
            apart = left >= right_2 or left_2 >= right or top >= bottom_2 or top_2 >= bottom
            assert apart, f"{a} and {b}"


@pytest.mark.both
def test_calibrations_seed_stays_as_it_is(comfy):
    """With another seed after each run nothing that was measured could be used again."""
    node = comfy.add("PSACalibrate")
    assert comfy.widgets(node)["control_after_generate"] == "fixed"
    comfy.set_widget(node, "control_after_generate", "increment")
    comfy.load_workflow(comfy.workflow())
    assert comfy.widgets(node)["control_after_generate"] == "increment", "what the user chose"


def test_the_side_panel_leaves_a_nodes_panel_alone(server, open_page):
    """Newer frontends draw a node's widgets there once more, at another width."""
    comfy = open_page(server, "classic")
    comfy.page.evaluate("app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', true)")
    node = comfy.add("PSAPresetLoader", (200, 200))
    panel = comfy.panel(node)
    expect(panel).to_be_visible()
    before = box_at_rest(panel)["width"]
    comfy.page.evaluate("app.canvas.selectNode(app.graph.nodes[0])")
    rows = comfy.page.get_by_test_id("properties-panel").locator(".widget-item")
    # these and no other; all are drawn at once
    expect(rows).to_have_text([re.compile("^family"), re.compile("^preset")])
    comfy.page.wait_for_function(IN_TWO_FRAMES)
    assert box_at_rest(panel)["width"] == before


def test_a_copied_node_has_its_own_state(comfy):
    editor = Editor(comfy)
    comfy.page.evaluate(
        """(id) => {
            const node = app.graph.nodes.find((n) => String(n.id) === id)
            app.canvas.selectNode(node)
            app.canvas.copyToClipboard()
            app.canvas.pasteFromClipboard({position: [700, 130]})
        }""",
        editor.node,
    )
    (other,) = (str(n["id"]) for n in comfy.workflow()["nodes"] if str(n["id"]) != editor.node)
    copy = Editor(comfy, node=other)
    copy.knob(8).focus()
    comfy.page.keyboard.press("PageUp")
    copy.wait_for(level_8_to=copy.ends()[8])
    assert copy.ends()[8] > editor.ends()[8]


def test_undo_takes_a_drag_back(comfy):
    editor = Editor(comfy)
    before = editor.ends()
    drag_by_mouse(comfy.page, editor.knob(8), 60)
    after = editor.ends()
    assert after != before
    editor.wait_for(level_8_to=after[8])
    comfy.undo()
    editor.wait_for(level_8_to=before[8])
    expect(comfy.panel(editor.node).get_by_role("slider").last).to_have_attribute(
        "aria-valuenow", f"{before[8]:g}"
    )
