"""The preset as YAML beside the fields: edit either, both stay in step."""

import re

import pytest

from .editor import Editor
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect


@pytest.fixture
def editor(comfy):
    editor = Editor(comfy)
    editor.show_yaml()
    return editor


@pytest.mark.both
def test_a_field_shows_in_the_text_and_the_text_in_the_field(comfy):
    editor = Editor(comfy)
    editor.show_yaml()
    editor.open_section("warmup_steps")
    editor.field("warmup_steps").fill("7")
    expect(editor.yaml).to_have_value(containing("warmup_steps: 7"))

    text = editor.yaml.input_value()
    editor.yaml.fill(text.replace("warmup_steps: 7", "warmup_steps: 12"))
    expect(editor.field("warmup_steps")).to_have_value("12")
    editor.wait_for(warmup_steps=12)
    editor.knob(8).focus()
    comfy.page.keyboard.press("ArrowRight")
    end = editor.ends()[8]
    editor.wait_for(level_8_to=end)
    expect(editor.yaml).to_have_value(re.compile(rf"\b8: \[.*, {end:g}\]"))


def containing(text):
    return re.compile(re.escape(text))


def test_a_short_text_means_the_defaults_elsewhere(editor):
    editor.yaml.fill("warmup_steps: 5\ntail: 32\n")
    editor.wait_for(warmup_steps=5, tail="32")
    defaults = {path: field["default"] for path, field in editor.fields.items()}
    assert editor.widgets()["mask_mode"] == defaults["mask_mode"]
    # the user's own wording stays
    expect(editor.yaml).to_have_value("warmup_steps: 5\ntail: 32\n")


def test_an_error_names_its_line_and_leads_there(editor):
    ends = editor.ends()
    text = "# mine\ntail: 32\nwarmup_steps: -4\nblock_size: {m: 128, n: 48}\n"
    editor.yaml.fill(text)
    view = editor.yaml_view
    expect(view.get_by_role("button", name="line 3, warmup_steps")).to_be_visible()
    expect(view.get_by_role("button", name="line 4, block_size.n")).to_be_visible()
    # what can be read shows in the fields at once, what is not there at its default
    assert editor.ends() == ends
    expect(editor.summary).to_contain_text(say("issue.many", count=2))
    view.get_by_role("button", name="line 3").click()
    assert selected(editor) == "warmup_steps: -4"
    # a mend at the field mends the text
    editor.open_section("warmup_steps")
    editor.row("warmup_steps").get_by_role("button", name="set warmup_steps").first.click()
    expect(editor.yaml).not_to_have_value(containing("-4"))
    expect(view.get_by_role("button", name="warmup_steps")).to_have_count(0)
    expect(view.get_by_role("button", name="block_size.n")).to_be_visible()


def selected(editor):
    return editor.yaml.evaluate("e => e.value.slice(e.selectionStart, e.selectionEnd)")


def test_text_that_cannot_be_applied_keeps_its_words_and_says_where(editor):
    before = editor.widgets()
    for text, line in {
        "warmup_steps: 1\ntail: [\n": 3,
        "tail: 32\ntail: 64\n": 2,
        "warmup_steps: 1\nwarm: 2\n": 2,
        "a: &x [1]\nb: *x\n": 1,
    }.items():
        editor.yaml.fill(text)
        problems = editor.yaml_view.get_by_role("button", name=f"line {line}")
        expect(problems.first).to_be_visible()
        expect(editor.yaml).to_have_value(text)
        assert editor.widgets() == before
        editor.button("yaml.drop").click()
        expect(problems).to_have_count(0)
        expect(editor.yaml).to_have_value(containing("mask_mode"))


def test_text_typed_while_an_answer_is_on_its_way_stays(editor):
    page = editor.page
    # The answer comes right after the second text, before the server is asked about that.
    page.evaluate(
        """() => {
            const {api} = app, {fetchApi} = api
            api.fetchApi = async (path, ...rest) => {
                const reply = await fetchApi.call(api, path, ...rest)
                if (path !== '/psa/validate' || !rest[0].body.includes('warmup_steps: 5'))
                    return reply
                api.fetchApi = fetchApi
                const body = await reply.text()
                await new Promise((resolve) => (window.psaTestRelease = resolve))
                return new Response(body, {status: reply.status})
            }
        }"""
    )
    editor.yaml.fill("warmup_steps: 5\n")
    page.wait_for_function("Boolean(window.psaTestRelease)")
    text = "warmup_steps: 5\ntail: 32\n"
    editor.yaml.evaluate(
        """(area, text) => {
            area.value = text
            area.dispatchEvent(new Event('input', {bubbles: true}))
            psaTestRelease()
        }""",
        text,
    )
    editor.wait_for(warmup_steps=5, tail="32")
    expect(editor.yaml).to_have_value(text)


def test_ones_own_wording_stays_also_when_the_answer_comes_after_one_left(editor):
    editor.yaml.evaluate(
        """(area) => {
            area.focus()
            area.value = 'tail: 32  # mine'
            area.dispatchEvent(new Event('input', {bubbles: true}))
            area.blur()
        }"""
    )
    editor.wait_for(tail="32")
    editor.wait_for_figures()
    expect(editor.yaml).to_have_value("tail: 32  # mine")
    # a field's change is shown in the preset's usual wording
    editor.open_section("warmup_steps")
    editor.field("warmup_steps").fill("4")
    expect(editor.yaml).to_have_value(containing("warmup_steps: 4"))
    expect(editor.yaml).not_to_have_value(containing("mine"))


def test_text_that_is_not_applied_stops_the_queue_and_survives_a_reload(comfy):
    editor = Editor(comfy, block_m="64", block_n="32", tail="32")
    links = {"model": comfy.model(), "preset": (editor.node, 0)}
    apply = comfy.add("PSAApply", (1200, 130), links=links, min_tokens=0)
    comfy.sampler((apply, 0))
    editor.show_yaml()
    editor.yaml.fill("warmup_steps: [\n")
    expect(editor.yaml_view.get_by_role("button", name="line 2")).to_be_visible()
    comfy.queue()
    comfy.open_refusal()
    said = comfy.ask("POST", "validate", {"yaml": "warmup_steps: [\n"})["issues"][0]["message"]
    expect(comfy.page.get_by_text(said).first).to_be_visible()
    comfy.close_refusal()
    workflow = comfy.workflow()
    comfy.load_page()
    comfy.load_workflow(workflow)
    again = Editor(comfy, node=editor.node)
    expect(again.yaml).to_have_value("warmup_steps: [\n")
    again.yaml.fill("{block_size: {m: 64, n: 32}, tail: 32, warmup_steps: 1}")
    again.wait_for(warmup_steps=1)
    assert comfy.run()["plan"][0] == "dense"


def test_the_large_window_is_the_same_editor(comfy):
    editor = Editor(comfy)
    editor.button("view.expand").click()
    window = comfy.page.get_by_role("dialog", name=say("view.largeTitle"))
    large = editor.within(window)
    large.open_section("warmup_steps")
    large.field("warmup_steps").fill("4")
    editor.wait_for(warmup_steps=4)
    expect(large.yaml).to_have_value(containing("warmup_steps: 4"))
    comfy.page.keyboard.press("Escape")
    expect(window).to_have_count(0)
    editor.open_section("warmup_steps")
    expect(editor.field("warmup_steps")).to_have_value("4")


def test_tab_indents_and_escape_lets_the_keyboard_out(editor):
    editor.yaml.fill("")
    editor.yaml.focus()
    keyboard = editor.page.keyboard
    keyboard.type("tail: 32")
    keyboard.press("Home")
    keyboard.press("Tab")
    expect(editor.yaml).to_have_value("  tail: 32")
    keyboard.press("Escape")
    keyboard.press("Tab")
    expect(editor.yaml).not_to_be_focused()
    expect(editor.yaml).to_have_value("  tail: 32")


def test_ranges_of_steps_are_listed_and_outlive_other_edits_and_saving(comfy):
    editor = Editor(comfy)
    editor.open_section("steps")
    row = editor.row("steps")
    expect(row).to_contain_text(say("field.none"))
    row.get_by_role("button", name=say("single.edit")).click()
    expect(editor.yaml).to_be_focused()

    # problems name their line; the mend is the range's
    editor.yaml.fill("tail: 32\nsteps:\n  0-12.5%: dense\n  50-80.5%: {tail: 128}\n")
    view = editor.yaml_view
    expect(view.get_by_role("button", name="line 4, steps.50-80.5%.tail")).to_be_visible()
    row.get_by_role("button", name="set tail to 64 for steps 50-80.5%").first.click()
    expect(row).to_contain_text(say("ranges.many", count=2))
    expect(row.get_by_role("listitem").nth(0)).to_have_text("0-12.5%dense")
    expect(row.get_by_role("listitem").nth(1)).to_have_text("50-80.5%tail: 64")

    editor.choose("grouping", "similar")
    expect(editor.yaml).to_have_value(containing("grouping: similar"))
    expect(editor.yaml).to_have_value(containing("  0-12.5%: dense\n"))
    editor.wait_for(grouping="similar")
    assert "0-12.5%: dense" in editor.widgets()["yaml_overrides"]
    editor.save_as("Wan2.1_1.3b", "with ranges")
    expect(editor.unsaved).to_have_count(0)
    stored = comfy.ask("GET", "presets/Wan2.1_1.3b/with%20ranges")
    assert stored["config"]["steps"] == {"0-12.5%": "dense", "50-80.5%": {"tail": 64}}
    assert stored["config"]["grouping"] == "similar" and "refresh" not in stored["yaml"]


def test_single_blocks_are_listed_and_outlive_other_edits_and_saving(comfy):
    editor = Editor(comfy)
    editor.open_section("warmup_steps")
    row = editor.row("blocks")
    expect(row).to_contain_text(say("field.none"))
    row.get_by_role("button", name=say("single.edit")).click()
    expect(editor.yaml).to_be_focused()

    # problems name their line; the mend is the block's
    editor.yaml.fill("tail: 32\nblocks:\n  0-1: dense\n  12: {tail: 64, block_size: {n: 32}}\n")
    view = editor.yaml_view
    expect(view.get_by_role("button", name="line 4, blocks.12.tail")).to_be_visible()
    row.get_by_role("button", name="set tail to 32 for blocks 12").first.click()
    expect(row).to_contain_text(say("single.many", count=3))
    expect(row.get_by_role("listitem")).to_have_count(2)
    expect(row.get_by_role("listitem").nth(0)).to_have_text("0-1dense")
    expect(row.get_by_role("listitem").nth(1)).to_contain_text("tail: 32")

    editor.field("warmup_steps").fill("7")
    expect(editor.yaml).to_have_value(containing("warmup_steps: 7"))
    expect(editor.yaml).to_have_value(containing("  0-1: dense\n"))
    editor.wait_for(warmup_steps=7)
    assert "0-1: dense" in editor.widgets()["yaml_overrides"]
    editor.save_as("Wan2.1_1.3b", "with blocks")
    expect(editor.unsaved).to_have_count(0)
    stored = comfy.ask("GET", "presets/Wan2.1_1.3b/with%20blocks")["config"]
    assert stored["warmup_steps"] == 7 and stored["blocks"]["0-1"] == "dense"
    assert stored["blocks"]["12"] == {"tail": 32, "block_size": {"n": 32}}
