"""For everybody: no serious finding of axe, in both themes, and all of it by keyboard."""

import pytest

from .editor import Editor
from .manager import Manager
from .words import say

axe_module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe")
expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

FAMILY = "Wan2.1_1.3b"


def findings(page, selector):
    """Serious and critical violations inside the elements of a selector."""
    answer = axe_module.Axe().run(page, context=selector).response
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
    """A picture without a text and a pale word: what axe must find."""
    comfy.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<div id=bad style=\"background:#fff;"
        'color:#eee;position:fixed;top:0;z-index:99999">pale<img src="/x.png"></div>\')'
    )
    assert {rule for rule, *_ in findings(comfy.page, "#bad")} == {"image-alt", "color-contrast"}


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_serious(server, combination, open_page, theme):
    comfy = open_page(server, combination[1], theme=theme, size=(1500, 1900))
    editor = Editor(comfy, size=(900, 100))
    loader = comfy.add("PSAPresetLoader", (1050, 130), family=FAMILY, preset="fast")
    apply = comfy.add("PSAApply", (1050, 500), links={"preset": (loader, 0)})
    comfy.add("KSampler", (1050, 1000), links={"model": (apply, 0)}, steps=20)
    comfy.panel(apply).get_by_text("20 steps").wait_for()
    editor.show_yaml()
    unfold(editor.scope)
    editor.row("warmup_steps").get_by_role("button", name=say("field.help", label="")).click()
    assert findings(comfy.page, ".psa-root") == []
    # with a problem, and settings without an effect
    editor.switch("use_sim_mask")
    editor.summary.get_by_text("use_sim_mask").wait_for()
    assert findings(comfy.page, ".psa-root") == []
    editor.button("view.more").click()
    assert findings(comfy.page, ".psa-menu") == []
    comfy.page.keyboard.press("Escape")
    manager = Manager.of_loader(comfy, loader)
    manager.item(FAMILY, "balanced").click()
    manager.dialog.get_by_text("mask_ratios").first.wait_for()
    assert findings(comfy.page, "dialog") == []
    manager.press("manager.duplicate")
    comfy.page.get_by_role("textbox", name=say("save.name"), exact=True).wait_for()
    assert findings(comfy.page, "dialog") == []


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
