"""For everybody: no serious finding of axe, nothing too faint, and all of it by keyboard."""

import pytest

from .contrast import PALETTES, faint
from .editor import Editor
from .manager import Manager
from .words import say

axe_module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

FAMILY = "Wan2.1_1.3b"
# what `faint` must find, each named by its fault, and what it must leave alone
SAMPLES = """<div id="samples" style="background: #fff; color: #222; font-size: 12px">
    <p style="color: #999">pale</p>
    <p style="opacity: 0.4">veiled</p>
    <p style="background: linear-gradient(#fff, #444)">on a gradient</p>
    <p style="background: url(x.png)">on a picture</p>
    <input aria-label="edgeless" value="x"
        style="border: 1px solid #ccc; color: #222; background: #fff">
    <button role="switch" style="border: 2px solid #777; background: #fff">
        <b aria-label="thumb" style="background: #ddd"></b></button>
    <p aria-current="true" style="background: #eee">current</p>
    <i role="img" aria-label="dot" style="background: #fc8"></i>
    <svg aria-label="icon" stroke="#ccc"><path d="M0 0h9"/></svg>
    <p style="color: #888; font-size: 24px">large</p>
    <p style="color: #fff; background: #0008">on a veil: 4.00</p>
    <p style="color: #fff"><b style="background: #000c">on a darker veil</b></p>
    <input aria-label="edge" value="x"
        style="border: 1px solid #777; color: #222; background: #fff">
    <button disabled style="color: #ccc">disabled</button>
</div>"""
FAULTS = """text pale, text veiled, text on a gradient, text on a picture, text on a veil: 4.00,
    edge edgeless, thumb thumb, state current, picture dot, icon icon"""


def findings(page, selector):
    """Serious and critical violations inside the elements of a selector; colours: see `faint`."""
    options = {"rules": {"color-contrast": {"enabled": False}}}
    answer = axe_module.Axe().run(page, context=selector, options=options).response
    assert answer["passes"], "axe looked at nothing"
    return [
        (violation["id"], node["target"], node["failureSummary"])
        for violation in answer["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def unfold(scope):
    closed = scope.locator(".psa-section-head[aria-expanded=false]")
    while closed.count():
        closed.first.click()


def test_axe_is_asked_for_real(comfy):
    comfy.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<div id=bad><img src=\"/x.png\"></div>')"
    )
    assert {rule for rule, *_ in findings(comfy.page, "#bad")} == {"image-alt"}
    comfy.page.evaluate("document.querySelector('#bad').remove()")


def test_what_stands_out_too_little_is_found(comfy):
    comfy.page.evaluate("(html) => document.body.insertAdjacentHTML('beforeend', html)", SAMPLES)
    found = faint(comfy.page, "#samples", at_least=15)
    comfy.page.evaluate("document.querySelector('#samples').remove()")
    for palette in PALETTES:
        named = [f"{kind} {what.split(chr(39))[1]}" for kind, what, _, of in found if of == palette]
        assert sorted(named) == sorted(fault.strip() for fault in FAULTS.split(","))


def test_nothing_serious_for_axe_and_everything_stands_out(comfy):
    page = comfy.page
    before = page.viewport_size
    page.set_viewport_size({"width": 1500, "height": 1900})
    loader = comfy.add("PSAPresetLoader", (1050, 130), family=FAMILY, preset="fast")
    node = comfy.add("PSAPresetEditor", (100, 130), (900, 100), links={"base": (loader, 0)})
    editor = Editor(comfy, node=node)
    apply = comfy.add("PSAApply", (1050, 500), links={"preset": (loader, 0)})
    comfy.add("KSampler", (1050, 1000), links={"model": (apply, 0)}, steps=20)
    comfy.panel(apply).get_by_text("20 steps").wait_for()
    editor.show_yaml()
    unfold(editor.scope)
    editor.row("warmup_steps").get_by_role("button", name=say("field.help", label="")).click()
    assert findings(page, ".psa-root") == []
    assert faint(page, ".psa-root", at_least=250) == []
    # with a problem, settings without an effect, and a run that stays dense
    editor.switch("use_sim_mask")
    editor.summary.get_by_text("use_sim_mask").wait_for()
    comfy.set_widget(apply, "schedule", "percent")
    comfy.set_widget(apply, "start_percent", 0.99)
    comfy.panel(apply).get_by_text("no step of this run is sparse").wait_for()
    assert findings(page, ".psa-root") == []
    assert faint(page, ".psa-root", at_least=250) == []
    editor.button("view.more").click()
    assert findings(page, ".psa-menu") == []
    assert faint(page, ".psa-menu", at_least=10) == []
    page.keyboard.press("Escape")
    # a text that is no preset, and the message that it cannot be saved
    editor.yaml.fill("tail: [")
    editor.scope.get_by_text(say("notice.text")).wait_for()
    editor.button("save.save").click()
    page.get_by_role("alert").get_by_text(say("save.broken")).wait_for()
    assert faint(page, ".psa", at_least=200) == []
    manager = Manager.of_loader(comfy, loader)
    manager.item(FAMILY, "balanced").click()
    manager.dialog.get_by_text("mask_ratios").first.wait_for()
    assert findings(page, "dialog") == []
    assert faint(page, "dialog", at_least=300) == []
    manager.press("manager.duplicate")
    page.get_by_role("textbox", name=say("save.name"), exact=True).wait_for()
    assert findings(page, "dialog") == []
    page.get_by_role("textbox", name=say("save.name"), exact=True).fill("my own")
    page.get_by_role("dialog").last.get_by_text(say("manager.duplicate"), exact=True).click()
    # one's own among those that are shipped, and the message that it is gone
    manager.item(FAMILY, "my own").get_by_text(say("manager.yours")).wait_for()
    assert faint(page, "dialog", at_least=300) == []
    manager.press("manager.delete")
    page.get_by_role("status").get_by_role("button", name=say("load.undo")).wait_for()
    assert faint(page, ".psa-toast", at_least=3) == []
    page.set_viewport_size(before)


def test_every_part_is_reached_with_the_tab_key_and_seen_there(comfy):
    editor = Editor(comfy)
    comfy.view(scale=0.8)  # with all of it open the node is higher than the window
    unfold(editor.scope)
    page = comfy.page
    editor.source.focus()
    # from here on it is the keyboard that moves the focus, which browsers mark only then
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    seen = []
    for _ in range(120):
        here = page.evaluate(
            """() => {
                const e = document.activeElement
                const drawn = (s) => s.outlineStyle !== 'none' && s.outlineWidth !== '0px'
                if (!e.closest('.psa-root')) return null
                const marks = [e, ...e.querySelectorAll('span')].map((x) => getComputedStyle(x))
                return {
                    what: e.getAttribute('aria-label') || e.id || e.textContent || e.className,
                    role: e.getAttribute('role') || e.tagName.toLowerCase(),
                    marked: marks.some(drawn),
                }
            }"""
        )
        if here is None:
            break
        seen.append(here)
        page.keyboard.press("Tab")
    roles = [here["role"] for here in seen]
    assert roles.count("slider") == 4
    # every section's head, every control, save, YAML, the large window, the menu
    controls = page.evaluate(
        """(root) => [...root.querySelectorAll('button, input, select, textarea, [tabindex="0"]')]
            .filter((e) => !e.disabled && e.tabIndex >= 0 && e.checkVisibility()).length""",
        editor.scope.element_handle(),
    )
    assert len(seen) == controls > 40
    assert [here for here in seen if not here["marked"]] == []


def test_a_preset_is_changed_saved_and_found_without_a_pointer(comfy):
    editor = Editor(comfy)
    page, keys = comfy.page, comfy.page.keyboard
    editor.knob(8).focus()
    keys.press("ArrowRight")
    mode = editor.scope.get_by_role("radio", name="topk")
    mode.focus()
    keys.press("ArrowRight")
    editor.wait_for(mask_mode="thresholdbound", level_8_to=0.36)
    editor.button("save.save").focus()
    keys.press("Enter")
    dialog = page.get_by_role("dialog", name=say("save.asTitle"))
    family = dialog.get_by_label(say("save.family"))
    family.focus()
    keys.press("Home")
    for _ in range(family.locator("option").count()):
        if family.input_value() != FAMILY:
            keys.press("ArrowDown")
    expect(family).to_have_value(FAMILY)
    keys.press("Tab")
    keys.type("by keyboard")
    keys.press("Enter")
    expect(editor.source).to_contain_text(f"{FAMILY} / by keyboard")
    expect(editor.button("save.save")).to_be_focused()
    editor.source.focus()
    keys.press("Enter")
    manager = Manager(comfy)
    keys.type("keyboard")
    keys.press("Tab")
    item = manager.item(FAMILY, "by keyboard")
    for _ in range(10):
        if not item.evaluate("(e) => e === document.activeElement"):
            keys.press("Tab")
    expect(item).to_be_focused()
    keys.press("Enter")
    expect(manager.dialog.get_by_role("heading", name="by keyboard")).to_be_visible()
    keys.press("Escape")
    expect(editor.source).to_be_focused()


def test_keys_in_a_field_do_nothing_to_the_node(comfy):
    editor = Editor(comfy)
    editor.open_section("warmup_steps")
    editor.field("warmup_steps").focus()
    for key in ("Delete", "Backspace", "Control+a", "Delete"):
        comfy.page.keyboard.press(key)
    editor.knob(1).focus()
    comfy.page.keyboard.press("Delete")
    comfy.page.wait_for_timeout(300)
    assert len(comfy.workflow()["nodes"]) == 1
