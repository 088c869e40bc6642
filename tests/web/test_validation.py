"""Wrong values: said at the field while typing, mended by a click, and never queued."""

import pytest

from .editor import Editor
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

SMALL = {"block_m": "64", "block_n": "32", "tail": "32"}


def ready_to_run(comfy, **widgets):
    """A whole graph with the editor in it."""
    editor = Editor(comfy, **{**SMALL, **widgets})
    links = {"model": comfy.model(), "preset": (editor.node, 0)}
    apply = comfy.add("PSAApply", (800, 130), links=links, min_tokens=0)
    comfy.sampler((apply, 0))
    return editor


def queued(comfy):
    """How many prompts the server has taken since it started."""
    return comfy.page.evaluate(
        """async () => Object.keys(await (await app.api.fetchApi("/history")).json()).length"""
    )


@pytest.mark.both
def test_a_clash_is_told_stops_the_queue_and_is_mended_by_a_click(comfy):
    editor = ready_to_run(comfy)
    before = queued(comfy)
    editor.switch("use_sim_mask")
    issue = editor.row("use_sim_mask").get_by_text("does not support the similarity mask")
    expect(issue).to_be_visible()
    expect(editor.field("use_sim_mask")).to_have_attribute("aria-invalid", "true")
    expect(editor.summary).to_contain_text(say("issue.one"))
    comfy.page.wait_for_function(
        "id => app.graph.nodes.find((n) => String(n.id) === id).has_errors", arg=editor.node
    )

    comfy.queue()
    comfy.open_refusal()
    message = comfy.ask("POST", "validate", {"widgets": editor.plain_values()})["issues"][0]
    expect(comfy.page.get_by_text(message["message"]).first).to_be_visible()
    assert queued(comfy) == before
    comfy.close_refusal()

    (drop, *_) = message["mends"]
    editor.row("use_sim_mask").get_by_role("button", name=drop["label"]).click()
    expect(issue).to_have_count(0)
    expect(editor.summary).to_be_hidden()
    editor.wait_for(use_sim_mask=False)
    assert comfy.run()["calls"]["sparse"] > 0


def test_the_other_mend_switches_the_implementation(comfy):
    editor = ready_to_run(comfy)
    editor.switch("use_sim_mask")
    mends = editor.row("use_sim_mask").get_by_role("button", name="old_mask_type")
    mends.first.click()
    expect(editor.summary).to_be_hidden()
    editor.wait_for(use_sim_mask=True, attn_impl="old_mask_type", block_m="128", block_n="128")
    report = comfy.run()
    assert report["failure"] is None


def test_a_wrong_number_is_told_while_it_is_typed(comfy):
    editor = Editor(comfy)
    field = editor.fields["warmup_steps"]
    editor.open_section("warmup_steps")
    box, row = editor.field("warmup_steps"), editor.row("warmup_steps")
    for text in (str(int(field["high"]) + 1), "-1", "1.5", "many"):
        box.fill(text)
        expect(box).to_have_attribute("aria-invalid", "true")
        expect(row).to_contain_text(f"from {field['low']:g} to {field['high']:g}")
        expect(box).to_have_value(text)
    box.fill("7")
    expect(box).not_to_have_attribute("aria-invalid", "true")
    editor.wait_for(warmup_steps=7)
    # and an arrow key steps from there
    box.press("ArrowUp")
    editor.wait_for(warmup_steps=7 + int(field["step"]))


def test_a_value_that_no_widget_can_hold_does_not_get_into_the_queue(comfy):
    editor = ready_to_run(comfy)
    before = queued(comfy)
    editor.open_section("warmup_steps")
    editor.field("warmup_steps").fill("many")
    # at once: the queue waits for the answer
    comfy.queue()
    comfy.open_refusal()
    expect(comfy.page.get_by_text("warmup_steps: found 'many'").first).to_be_visible()
    assert queued(comfy) == before
    comfy.close_refusal()
    # as typed, so nothing is lost
    expect(editor.field("warmup_steps")).to_have_value("many")
    editor.field("warmup_steps").fill("1")
    editor.wait_for(warmup_steps=1)
    assert comfy.run()["plan"] == ["dense", "sparse", "sparse", "sparse"]


def test_what_was_typed_a_moment_ago_is_queued(comfy):
    editor = ready_to_run(comfy)
    editor.open_section("warmup_steps")
    editor.field("warmup_steps").fill("2")
    assert comfy.run()["plan"] == ["dense", "dense", "sparse", "sparse"]


def test_the_summary_leads_to_the_field(comfy):
    editor = Editor(comfy)
    editor.open_section("warmup_steps")
    editor.field("warmup_steps").fill("many")
    expect(editor.summary).to_be_visible()
    editor.fold_section("warmup_steps")
    expect(editor.field("warmup_steps")).to_be_hidden()
    editor.summary.get_by_role("button", name="warmup_steps").click()
    expect(editor.field("warmup_steps")).to_be_focused()


def test_fields_without_effect_say_why(comfy):
    editor = Editor(comfy)
    editor.open_section("tile_size")
    reasons = comfy.ask("POST", "validate", {"config": {}})["not_applicable"]
    row = editor.row("tile_size")
    expect(row).to_contain_text(say("field.inapplicable", reason=reasons["tile_size"]))
    expect(row.get_by_role("textbox").first).to_be_disabled()
    editor.choose("rearrange_method", "STA")
    expect(row.get_by_role("textbox").first).to_be_enabled()
    expect(row).not_to_contain_text(say("field.inapplicable", reason=reasons["tile_size"]))


def test_every_field_has_its_type_range_default_and_help(comfy):
    editor = Editor(comfy)
    comfy.view(scale=0.4)  # the node gets as high as all its help
    for path, field in editor.fields.items():
        if field["kind"] == "mask_ratios":
            continue
        editor.open_section(path)
        row = editor.row(path)
        row.get_by_role("button", name=say("field.help", label=field["label"]), exact=True).click()
        expect(row).to_contain_text(field["help"])
        if field["low"] is not None:
            limits = {"low": f"{field['low']:g}", "high": f"{field['high']:g}"}
            expect(row).to_contain_text(say("field.range", **limits))
        if field["kind"] in ("int", "float"):
            expect(row).to_contain_text(say("field.default", value=f"{field['default']:g}"))
        if field["kind"] == "choice" and row.get_by_role("combobox").count():
            shown = [say("field.none") if c is None else str(c) for c in field["choices"]]
            assert row.get_by_role("combobox").locator("option").all_inner_texts() == shown


def test_a_field_goes_back_to_its_default(comfy):
    editor = Editor(comfy, warmup_steps=9)
    editor.open_section("warmup_steps")
    expect(editor.field("warmup_steps")).to_have_value("9")
    label = editor.fields["warmup_steps"]["label"]
    editor.button("field.reset", label=label).click()
    editor.wait_for(warmup_steps=editor.fields["warmup_steps"]["default"])
    expect(editor.button("field.reset", label=label)).to_be_hidden()


def test_waiting_for_the_answer_is_waiting_for_the_last_one(comfy):
    """As when a prompt is queued while the server is still asked about the edit before the last."""
    editor = Editor(comfy)
    left = comfy.page.evaluate(
        """async (id) => {
            const {state} = app.graph.nodes.find((n) => String(n.id) === id).psaEditor
            state.change({warmup_steps: 3})
            const answered = state.flush()
            state.change({warmup_steps: 4})
            await answered
            return state.pending.size
        }""",
        editor.node,
    )
    assert left == 0
    assert editor.widgets()["warmup_steps"] == 4
