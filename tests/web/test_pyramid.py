"""The pyramid bar: boundaries by mouse, finger, keyboard and number."""

import itertools

import pytest

from .editor import Editor
from .pointer import box_at_rest, drag_by_mouse, drag_by_touch

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

LEVELS = {1: "level_1_to", 2: "level_2_to", 4: "level_4_to", 8: "level_8_to"}


def agree(editor):
    """Bar, numbers, node and server say the same; answers that."""
    ends = editor.ends()
    editor.wait_for(**{LEVELS[level]: end for level, end in ends.items()})
    for level, end in ends.items():
        expect(editor.number(level)).to_have_value(f"{end:g}")
    answer = editor.comfy.ask("POST", "validate", {"widgets": editor.plain_values()})
    assert {p["level"]: p["to"] for p in answer["pyramid"] if p["level"]} == ends
    return ends


@pytest.mark.both
def test_a_boundary_follows_the_mouse(comfy):
    editor = Editor(comfy)
    before = agree(editor)
    drag_by_mouse(comfy.page, editor.knob(8), 60)
    after = agree(editor)
    assert after[8] > before[8] + 0.05
    assert {**after, 8: 0} == {**before, 8: 0}
    # back to where it was, further to the left than its neighbours: they give way
    drag_by_mouse(comfy.page, editor.knob(8), -220)
    pushed = agree(editor)
    assert pushed[8] < before[2]
    assert pushed[1] <= pushed[2] == pushed[4] == pushed[8]


@pytest.mark.both
def test_a_boundary_keeps_to_the_pointer_when_the_canvas_is_zoomed(comfy):
    editor = Editor(comfy)
    comfy.view(scale=0.6, offset=(100, 60))
    knob = editor.knob(8)
    start = box_at_rest(knob)["x"]
    drag_by_mouse(comfy.page, knob, 50)
    agree(editor)
    # to the next step of the bar, which is less than three pixels here
    assert abs(box_at_rest(knob)["x"] - start - 50) < 6


def test_a_boundary_follows_a_finger(server, combination, open_page):
    comfy = open_page(server, combination[1], touch=True)
    editor = Editor(comfy)
    before = agree(editor)
    drag_by_touch(comfy.page, editor.knob(8), 60)
    after = agree(editor)
    assert after[8] > before[8] + 0.05
    assert {**after, 8: 0} == {**before, 8: 0}


def test_a_drag_on_the_bar_itself_moves_the_nearest_boundary(comfy):
    editor = Editor(comfy)
    before = agree(editor)
    knob, box = editor.knob(8), box_at_rest(editor.bar())
    x = box["x"] + box["width"] * (before[8] + 0.02)
    comfy.page.mouse.move(x, box["y"] + box["height"] / 2)
    comfy.page.mouse.down()
    comfy.page.mouse.move(x + 60, box["y"] + box["height"] / 2, steps=5)
    comfy.page.mouse.up()
    assert agree(editor)[8] > before[8] + 0.05
    expect(knob).to_be_focused()


def test_a_drag_that_is_broken_off_changes_nothing(server, combination, open_page):
    comfy = open_page(server, combination[1], touch=True)
    editor = Editor(comfy)
    before = agree(editor)
    box = box_at_rest(editor.knob(8))
    session = comfy.page.context.new_cdp_session(comfy.page)
    point = {"x": box["x"] + 5, "y": box["y"] + 5}
    send = lambda kind, points: session.send(  # noqa: E731
        "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
    )
    send("touchStart", [point])
    send("touchMove", [{**point, "x": point["x"] + 80}])
    expect(editor.knob(8)).not_to_have_attribute("aria-valuenow", f"{before[8]:g}")
    send("touchCancel", [])
    expect(editor.knob(8)).to_have_attribute("aria-valuenow", f"{before[8]:g}")
    assert agree(editor) == before


def test_keys_move_a_boundary_and_open_a_closed_level(comfy):
    editor = Editor(comfy)
    before = agree(editor)
    assert before[2] == before[4], "the level that this test opens must be closed"
    editor.knob(4).focus()
    comfy.page.keyboard.press("ArrowRight")
    opened = agree(editor)
    assert before[4] < opened[4] < before[8]
    assert opened[2] == before[2]
    comfy.page.keyboard.press("ArrowLeft")
    assert agree(editor) == before
    comfy.page.keyboard.press("PageUp")
    further = agree(editor)
    assert further[4] > opened[4]
    comfy.page.keyboard.press("Home")
    ends = agree(editor)
    assert (ends[1], ends[2], ends[4], ends[8]) == (0, 0, 0, before[8])
    comfy.page.keyboard.press("End")
    assert agree(editor) == {1: 0, 2: 0, 4: 1, 8: 1}


def test_a_typed_number_moves_the_bar(comfy):
    editor = Editor(comfy)
    before = agree(editor)
    editor.number(8).fill("0.5")
    editor.number(8).press("Enter")
    expect(editor.knob(8)).to_have_attribute("aria-valuenow", "0.5")
    assert agree(editor) == {**before, 8: 0.5}


def test_a_number_out_of_order_is_answered_at_the_bar_and_mended_there(comfy):
    editor = Editor(comfy)
    before = agree(editor)
    editor.number(8).fill("0.05")
    editor.number(8).press("Tab")
    issue = editor.pyramid().get_by_text("mask_ratios").or_(editor.pyramid().get_by_text("found"))
    expect(issue.first).to_be_visible()
    expect(editor.number(8)).to_have_value("0.05")
    editor.number(8).fill("0.4")
    editor.number(8).press("Tab")
    expect(issue).to_have_count(0)
    assert agree(editor) == {**before, 8: 0.4}


def test_knobs_lie_side_by_side_wherever_boundaries_are(comfy):
    """Knobs of closed levels can be grasped: none lies over another or outside the bar."""
    width, total = 26, 380
    places = comfy.page.evaluate(
        """async ([width, total]) => {
            const path = '/extensions/ComfyUI-PSA/editor/pyramid_geometry.js'
            const {spread} = await import(path)
            const ends = []
            for (let i = 0; i < 4000; i++) {
                const wanted = Array.from({length: 4}, () => Math.random() ** 2 * total)
                if (i % 4 === 0) wanted[1] = wanted[2]
                if (i % 7 === 0) wanted.fill(i % 2 ? 0 : total)
                ends.push(spread(wanted.sort((a, b) => a - b), width, total))
            }
            return ends
        }""",
        [width, total],
    )
    for row in places:
        assert row[0] >= width / 2 - 0.01 and row[-1] <= total - width / 2 + 0.01, row
        assert all(b - a >= width - 0.01 for a, b in itertools.pairwise(row)), row
