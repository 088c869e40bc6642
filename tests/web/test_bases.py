"""An editor that others feed: a base preset, and single settings through links."""

import pytest
import yaml

from .comfy_page import TIMEOUT
from .editor import Editor
from .questions import Questions
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

FAMILY = "Wan2.1_14b"


@pytest.fixture
def loader(comfy):
    return comfy.add("PSAPresetLoader", (60, 130), family=FAMILY, preset="faithful")


def on_base(comfy, loader, at=(420, 130)):
    return Editor(comfy, node=comfy.add("PSAPresetEditor", at, links={"base": (loader, 0)}))


def shown(editor, path):
    editor.open_section(path)
    return editor.field(path)


def test_the_bases_values_show_and_a_default_can_be_said_over_them(comfy, loader):
    editor = on_base(comfy, loader)
    stored = comfy.ask("GET", f"presets/{FAMILY}/faithful")["config"]
    assert stored["warmup_steps"] != editor.fields["warmup_steps"]["default"]
    expect(shown(editor, "warmup_steps")).to_have_value(str(stored["warmup_steps"]))
    assert editor.ends()[1] == stored["mask_ratios"]["1"][1]
    expect(editor.scope.get_by_text(say("notice.base", name=f"{FAMILY}/faithful"))).to_be_visible()
    # the widget's default means the base's value, so only YAML can say it
    default = editor.fields["warmup_steps"]["default"]
    editor.field("warmup_steps").fill(str(default))
    editor.field("warmup_steps").press("Enter")
    editor.wait_for(yaml_overrides=f"warmup_steps: {default}\n")
    expect(editor.field("warmup_steps")).to_have_value(str(default))
    answer = comfy.ask("POST", "validate", {
        "widgets": editor.plain_values(), "yaml_overrides": editor.widgets()["yaml_overrides"],
        "base": {"family": FAMILY, "preset": "faithful"},
    })  # fmt: skip
    assert answer["config"] == {**stored, "warmup_steps": default}


def test_another_base_and_another_preset_of_it_are_followed(comfy, loader):
    editor = on_base(comfy, loader)
    comfy.page.evaluate(
        """(id) => {
            const widget = app.graph.nodes.find((n) => String(n.id) === id).widgets
                .find((w) => w.name === 'preset')
            widget.value = 'fast'
            widget.callback?.('fast')
        }""",
        loader,
    )
    comfy.page.mouse.click(1350, 850)  # any click lets ComfyUI notice a change
    fast = comfy.ask("GET", f"presets/{FAMILY}/fast")["config"]
    full = editor.scope.locator(".psa-level input").first
    expect(full).to_have_value(str(fast["mask_ratios"]["1"][1]))


def test_a_base_is_taken_over_and_unlinked(comfy, loader):
    editor = on_base(comfy, loader)
    editor.scope.get_by_role("button", name=say("notice.fold")).click()
    stored = comfy.ask("GET", f"presets/{FAMILY}/faithful")["config"]
    editor.wait_for(warmup_steps=stored["warmup_steps"])
    # what has no widget of its own is in the YAML
    given = editor.widgets()["yaml_overrides"]
    assert list(yaml.safe_load(given)) == ["steps"]
    inputs = comfy.prompt()[editor.node]["inputs"]
    assert "base" not in inputs
    asked = {"widgets": editor.plain_values(), "yaml_overrides": given}
    config = comfy.ask("POST", "validate", asked)["config"]
    stored["mask_ratios"] = config["mask_ratios"] = None
    assert config == stored
    expect(editor.scope.get_by_text(say("notice.base", name=f"{FAMILY}/faithful"))).to_have_count(0)


def test_an_editor_is_a_base_too_and_is_followed(comfy, loader):
    first = on_base(comfy, loader)
    second = on_base(comfy, first.node, at=(920, 130))
    first.knob(1).focus()
    comfy.page.keyboard.press("PageUp")
    expect(second.knob(1)).to_have_attribute(
        "aria-valuenow", first.knob(1).get_attribute("aria-valuenow")
    )
    # what does not fit is told by the one that has it
    first.switch("use_sim_mask")
    expect(first.summary).to_contain_text("use_sim_mask")
    expect(second.summary).to_contain_text("use_sim_mask")


def test_bases_in_a_circle_hold_nothing_up(comfy):
    first = Editor(comfy)
    second = on_base(comfy, first.node, at=(620, 130))
    unknown = say("notice.baseUnknown")
    comfy.page.evaluate(
        """([from, to]) => {
            const find = (id) => app.graph.nodes.find((n) => String(n.id) === id)
            find(from).connect(0, find(to), find(to).findInputSlot('base'))
        }""",
        [second.node, first.node],
    )
    for editor in (first, second):
        expect(editor.scope.get_by_text(unknown)).to_be_visible()
    # ComfyUI refuses such a graph when it is queued; until then nothing waits for it
    made = comfy.page.evaluate(
        """(timeout) => Promise.race([
            app.graphToPrompt().then(({output}) => Object.keys(output)),
            new Promise((resolve) => setTimeout(resolve, timeout, 'never')),
        ])""",
        TIMEOUT,
    )
    assert sorted(made) == sorted([first.node, second.node])
    # nor do they ask because of each other's answers, for ever
    Questions(comfy.page).wait_for_quiet()
    # once it is open again, the base is followed
    comfy.page.evaluate(
        """(id) => {
            const node = app.graph.nodes.find((n) => String(n.id) === id)
            node.disconnectInput(node.findInputSlot('base'))
        }""",
        first.node,
    )
    for editor in (first, second):
        expect(editor.scope.get_by_text(unknown)).to_have_count(0)
    first.knob(1).focus()
    comfy.page.keyboard.press("PageUp")
    expect(second.knob(1)).to_have_attribute(
        "aria-valuenow", first.knob(1).get_attribute("aria-valuenow")
    )


@pytest.mark.both
def test_plain_widgets_come_and_go_and_a_linked_one_stays(comfy):
    editor = Editor(comfy)
    editor.wait_for_figures()
    number = comfy.add("PrimitiveInt", (700, 130), value=5)
    node = f"app.graph.nodes.find((n) => String(n.id) === '{editor.node}')"
    high = comfy.page.evaluate(f"{node}.computeSize()[1]")
    editor.menu("menu.showPlain")
    comfy.page.wait_for_function(f"{node}.computeSize()[1] > {high} + 300")
    comfy.page.evaluate(
        """([from, to]) => {
            const find = (id) => app.graph.nodes.find((n) => String(n.id) === id)
            find(from).connect(0, find(to), find(to).findInputSlot('warmup_steps'))
        }""",
        [number, editor.node],
    )
    editor.scope = comfy.panel(editor.node)
    editor.menu("menu.hidePlain")
    comfy.page.wait_for_function(f"{node}.computeSize()[1] < {high} + 60")
    expect(shown(editor, "warmup_steps")).to_be_disabled()
    expect(editor.row("warmup_steps")).to_contain_text(say("field.linked"))
    hidden = comfy.page.evaluate(f"{node}.widgets.filter((w) => w.hidden).map((w) => w.name)")
    assert "warmup_steps" not in hidden and "verbose" in hidden
    assert comfy.prompt()[editor.node]["inputs"]["warmup_steps"] == [number, 0]
