"""Python is edited and the page follows: it has no default, range, choice or word of its own.

A copy of the pack with a changed field description, in a server of its own.
"""

import shutil

import pytest

from ..pack_import import ROOT
from .editor import Editor
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

FIELDS = "psa_kernels/config/fields.py"
# (file, what is there, what takes its place)
EDITS = [
    (FIELDS, '"warmup_steps", "warmup_steps", "int", 0, "Warm-up steps",',
     '"warmup_steps", "warmup_steps", "int", 3, "Dense at first",'),
    ("psa_kernels/config/psa_config.py", "warmup_steps: int = 0", "warmup_steps: int = 3"),
    (FIELDS, 'low=0, high=1000, step=1, unit="steps"', 'low=2, high=7, step=2, unit="rounds"'),
    (FIELDS, '"blocks", per_range=False, choices=(16, 32, 64, 128), unit="tokens",',
     '"blocks", per_range=False, choices=(16, 24, 32), unit="tokens",'),
    (FIELDS, "8: (0.15, 0.35), 0: (0.35, 1.0)", "8: (0.15, 0.55), 0: (0.55, 1.0)"),
    (FIELDS, "Keys per inner step,", "Quite another help,"),
    (FIELDS, '"pyramid", low=0.0, high=1.0, step=0.01,',
     '"pyramid", low=0.0, high=1.0, step=0.05,'),
]  # fmt: skip


@pytest.fixture(scope="module")
def edited_server(start_server, tmp_path_factory):
    copy = tmp_path_factory.mktemp("pack") / "ComfyUI-PSA"
    leave = shutil.ignore_patterns(".*", "__pycache__", "tests", "demo_output", "examples", "docs")
    shutil.copytree(ROOT, copy, ignore=leave)
    for name, old, new in EDITS:
        path = copy / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} no longer has {old}"
        path.write_text(text.replace(old, new), encoding="utf-8")
    return start_server(pack=copy)


def test_the_editor_follows_python(edited_server, open_page):
    comfy = open_page(edited_server)
    editor = Editor(comfy)
    warmup = editor.fields["warmup_steps"]
    assert (warmup["low"], warmup["high"], warmup["default"]) == (2, 7, 3)

    # defaults
    assert editor.ends() == {1: 0.1, 2: 0.15, 4: 0.15, 8: 0.55}
    editor.open_section("warmup_steps")
    box, row = editor.scope.get_by_label("Dense at first", exact=True), editor.row("warmup_steps")
    expect(box).to_have_value("3")
    # range, step and unit
    box.fill("8")
    expect(row).to_contain_text("from 2 to 7")
    expect(box).to_have_attribute("aria-invalid", "true")
    box.fill("5")
    expect(box).not_to_have_attribute("aria-invalid", "true")
    box.press("ArrowUp")
    expect(box).to_have_value("7")
    box.press("ArrowUp")
    expect(box).to_have_value("7")
    row.get_by_role("button", name=say("field.help", label="Dense at first")).click()
    expect(row).to_contain_text("rounds")
    editor.button("field.reset", label="Dense at first").click()
    editor.wait_for(warmup_steps=3)

    # choices and help
    editor.open_section("block_size.tile_n")
    options = editor.field("block_size.tile_n").locator("option")
    assert options.all_inner_texts() == ["16", "24", "32"]
    label = editor.fields["block_size.tile_n"]["label"]
    editor.button("field.help", label=label).click()
    expect(editor.row("block_size.tile_n")).to_contain_text("Quite another help,")

    # the step of a boundary
    editor.knob(8).focus()
    comfy.page.keyboard.press("ArrowRight")
    expect(editor.knob(8)).to_have_attribute("aria-valuenow", "0.6")
    editor.wait_for(level_8_to=0.6)
