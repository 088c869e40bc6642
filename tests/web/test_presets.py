"""Presets: stored, found, copied, renamed, removed, shared; nothing is lost on the way."""

import pytest
import yaml

from .editor import Editor
from .manager import Manager, load
from .words import say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

FAMILY = "Wan2.1_1.3b"
FILE = """
Wan2.1_1.3b:
  attention_configs:
    dawn: {warmup_steps: 3}
    noon: {warmup_steps: 4}
"""


def store(comfy, name, **settings):
    route = f"presets/{FAMILY}/{name}"
    answer = comfy.ask("PUT", route, {"config": settings, "expected": None})
    assert answer["preset"] == name
    return answer


def edit(editor, steps):
    editor.open_section("warmup_steps")
    editor.field("warmup_steps").fill(str(steps))
    editor.wait_for(warmup_steps=steps)


def dialog(comfy, key, **values):
    return comfy.page.get_by_role("dialog", name=say(key, **values), exact=True)


def press(where, key, **values):
    where.get_by_role("button", name=say(key, **values), exact=True).click()


def files(comfy):
    folder = comfy.server.base / "user" / "default" / "psa" / "presets"
    merged = {}
    for path in folder.glob("*.yaml"):
        for family, content in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            merged.setdefault(family, {}).update(content["attention_configs"])
    return merged


def test_save_writes_over_ones_own_and_copies_what_is_shipped(comfy):
    editor = Editor(comfy)
    load(editor, FAMILY, "fast")
    edit(editor, 7)
    expect(editor.unsaved).to_be_visible()
    # a shipped preset stays as it is: saving asks for a name
    editor.button("save.save").click()
    asked = dialog(comfy, "save.asTitle")
    expect(asked.get_by_label(say("save.family"))).to_have_value(FAMILY)
    asked.get_by_label(say("save.name")).fill("mine")
    press(asked, "save.save")
    expect(editor.source).to_contain_text("mine")
    expect(asked).to_have_count(0)
    assert files(comfy)[FAMILY]["mine"]["warmup_steps"] == 7

    edit(editor, 8)
    editor.button("save.save").click()
    expect(editor.unsaved).to_be_hidden()
    assert files(comfy)[FAMILY]["mine"]["warmup_steps"] == 8


def test_a_taken_name_is_told_before_anything_is_overwritten(comfy):
    store(comfy, "mine", warmup_steps=3)
    editor = Editor(comfy, warmup_steps=9)
    editor.menu("save.as")
    asked = dialog(comfy, "save.asTitle")
    asked.get_by_label(say("save.family")).select_option(FAMILY)
    asked.get_by_label(say("save.name")).fill("mine")
    press(asked, "save.save")
    over = dialog(comfy, "save.overwriteTitle", name="mine")
    expect(over).to_contain_text("warmup_steps: 3 → 9")
    # the keyboard is on what does no harm
    expect(over.get_by_role("button", name=say("dialog.cancel"), exact=True)).to_be_focused()
    comfy.page.keyboard.press("Enter")
    expect(asked.get_by_role("alert")).to_have_text(say("save.taken", name="mine"))
    assert files(comfy)[FAMILY]["mine"]["warmup_steps"] == 3
    # a name that the store does not take is told there too
    asked.get_by_label(say("save.name")).fill("../mine")
    press(asked, "save.save")
    expect(asked.get_by_role("alert")).to_contain_text("name")
    expect(asked).to_be_visible()
    asked.get_by_label(say("save.name")).fill("mine")
    press(asked, "save.save")
    press(dialog(comfy, "save.overwriteTitle", name="mine"), "save.overwriteButton")
    expect(asked).to_have_count(0)
    assert files(comfy)[FAMILY]["mine"]["warmup_steps"] == 9


def test_search_duplicate_rename_delete_undo(comfy):
    editor = Editor(comfy)
    manager = Manager.of_editor(editor)
    manager.search("smallest cost")
    shown = manager.names(FAMILY)
    assert shown == ["fast"], "the search looks into descriptions too"
    manager.search("no such preset")
    expect(
        manager.dialog.get_by_text(say("manager.nothing", text="no such preset"))
    ).to_be_visible()
    manager.search("")

    manager.item(FAMILY, "fast").click()
    expect(manager.dialog.get_by_role("heading", name="fast", exact=True)).to_be_visible()
    expect(manager.dialog.get_by_role("button", name=say("manager.delete"))).to_have_count(0)
    manager.press("manager.duplicate")
    asked = dialog(comfy, "manager.duplicateTitle", name="fast")
    asked.get_by_label(say("save.name")).fill("swift")
    press(asked, "manager.duplicate")
    expect(manager.item(FAMILY, "swift")).to_contain_text(say("manager.yours"))
    swift = files(comfy)[FAMILY]["swift"]

    manager.press("manager.rename")
    asked = dialog(comfy, "manager.renameTitle", name="swift")
    asked.get_by_label(say("save.name")).fill("fast")
    press(asked, "manager.rename")
    expect(asked.get_by_role("alert")).to_contain_text("fast")
    asked.get_by_label(say("save.name")).fill("hasty")
    press(asked, "manager.rename")
    expect(manager.item(FAMILY, "hasty")).to_have_attribute("aria-current", "true")
    assert files(comfy)[FAMILY] == {"hasty": swift}

    manager.press("manager.delete")
    expect(manager.item(FAMILY, "hasty")).to_have_count(0)
    assert FAMILY not in files(comfy)
    undo = comfy.page.get_by_role("status").get_by_role("button", name=say("load.undo"))
    undo.click()
    expect(manager.item(FAMILY, "hasty")).to_be_visible()
    assert files(comfy)[FAMILY] == {"hasty": swift}


def test_the_manager_shows_what_another_tab_stores_and_the_keyboard_stays(comfy):
    store(comfy, "mine", warmup_steps=3)
    editor = Editor(comfy)
    manager = Manager.of_editor(editor)
    manager.item(FAMILY, "mine").click()
    shown = manager.dialog.get_by_label("YAML", exact=True)
    expect(shown).to_contain_text("warmup_steps: 3")
    button = manager.dialog.get_by_role("button", name=say("manager.duplicate"), exact=True)
    button.focus()
    store(comfy, "mine", warmup_steps=4)
    expect(shown).to_contain_text("warmup_steps: 4")
    expect(button).to_be_focused()


def test_what_another_tab_stores_ends_no_click(comfy):
    store(comfy, "mine")
    manager = Manager.of_editor(Editor(comfy))
    manager.item(FAMILY, "mine").hover()
    comfy.page.mouse.down()
    store(comfy, "other")
    manager.item(FAMILY, "other").wait_for()
    comfy.page.mouse.up()
    manager.dialog.get_by_role("heading", name="mine", exact=True).wait_for()


def test_without_a_list_the_manager_says_why(server, combination, open_page):
    comfy = open_page(server, combination[1])  # which has read no list yet
    comfy.page.route("**/psa/presets", lambda route: route.abort())
    loader = comfy.add("PSAPresetLoader", (100, 130))
    panel = comfy.panel(loader)
    panel.get_by_role("button", name=say("loader.browse")).click()
    expect(comfy.page.get_by_role("alert").filter(has_text="fetch")).to_be_visible()
    comfy.page.unroute("**/psa/presets")
    Manager.of_loader(comfy, loader)


def test_loading_can_be_undone_and_asks_for_unsaved_changes_first(comfy):
    editor = Editor(comfy)
    edit(editor, 5)
    before = editor.widgets()
    manager = Manager.of_editor(editor)
    manager.item(FAMILY, "fast").click()
    manager.use()
    guard = dialog(comfy, "unsaved.title")
    press(guard, "dialog.cancel")
    manager.close()
    assert editor.widgets() == before
    expect(editor.unsaved).to_be_visible()

    manager = Manager.of_editor(editor)
    manager.item(FAMILY, "fast").click()
    manager.use()
    press(dialog(comfy, "unsaved.title"), "unsaved.replace")
    expect(editor.source).to_contain_text("fast")
    assert editor.widgets() != before
    comfy.page.get_by_role("status").get_by_role("button", name=say("load.undo")).click()
    comfy.wait_for_widgets(editor.node, **{k: before[k] for k in ("warmup_steps", "tail")})
    assert editor.widgets() == before


def test_unsaved_changes_can_be_saved_on_the_way(comfy):
    editor = Editor(comfy)
    edit(editor, 5)
    manager = Manager.of_editor(editor)
    manager.item(FAMILY, "fast").click()
    manager.use()
    press(dialog(comfy, "unsaved.title"), "unsaved.save")
    asked = dialog(comfy, "save.asTitle")
    asked.get_by_label(say("save.family")).select_option(FAMILY)
    asked.get_by_label(say("save.name")).fill("kept")
    press(asked, "save.save")
    expect(editor.source).to_contain_text("fast")
    assert files(comfy)[FAMILY]["kept"]["warmup_steps"] == 5


def test_what_is_chosen_is_what_is_loaded_however_late_it_comes(server, combination, open_page):
    comfy = open_page(server, combination[1])  # which has read no preset yet
    held = []
    comfy.page.route(f"**/psa/presets/{FAMILY}/fast", lambda route: held.append(route))
    loader = comfy.add("PSAPresetLoader", (100, 130), family=FAMILY, preset="faithful")
    manager = Manager.of_loader(comfy, loader)
    shown = manager.dialog.get_by_role("heading", name="faithful", exact=True)
    expect(shown).to_be_visible()
    manager.item(FAMILY, "fast").click()
    manager.use()
    expect(shown).to_be_visible()
    while not held:  # asked for, but not heard of yet
        comfy.page.wait_for_timeout(20)
    for route in held:
        route.continue_()
    comfy.wait_for_widgets(loader, family=FAMILY, preset="fast")
    expect(manager.dialog).to_have_count(0)


def test_reset_to_shipped_and_back(comfy):
    editor = Editor(comfy)
    load(editor, FAMILY, "fast")
    shipped = editor.widgets()
    edit(editor, 77)
    editor.menu("menu.reset")
    comfy.wait_for_widgets(editor.node, warmup_steps=shipped["warmup_steps"])
    assert editor.widgets() == shipped
    expect(editor.unsaved).to_be_hidden()
    comfy.page.get_by_role("status").get_by_role("button", name=say("load.undo")).click()
    comfy.wait_for_widgets(editor.node, warmup_steps=77)


def test_a_file_of_presets_is_pasted(comfy):
    editor = Editor(comfy)
    manager = Manager.of_editor(editor)
    manager.item(FAMILY, "fast").click()
    comfy.paste(FILE)
    expect(manager.item(FAMILY, "dawn")).to_be_visible()
    assert {name: config["warmup_steps"] for name, config in files(comfy)[FAMILY].items()} == {
        "dawn": 3,
        "noon": 4,
    }
    # again with other content: the names are taken
    comfy.paste(FILE.replace("3}", "13}"))
    asked = dialog(comfy, "import.taken")
    press(asked, "dialog.cancel")
    assert files(comfy)[FAMILY]["dawn"]["warmup_steps"] == 3
    comfy.paste(FILE.replace("3}", "13}"))
    press(dialog(comfy, "import.taken"), "import.replace")
    expect(dialog(comfy, "import.taken")).to_have_count(0)
    done = say("import.done", saved=1, skipped=1)
    expect(comfy.page.get_by_role("status").get_by_text(done)).to_be_visible()
    assert files(comfy)[FAMILY]["dawn"]["warmup_steps"] == 13


def test_a_single_preset_is_pasted_under_a_name(comfy):
    manager = Manager.of_editor(Editor(comfy))
    manager.item(FAMILY, "fast").click()
    comfy.paste("warmup_steps: 6\n")
    asked = dialog(comfy, "import.nameTitle")
    asked.get_by_label(say("save.family")).select_option(FAMILY)
    asked.get_by_label(say("save.name")).fill("pasted")
    press(asked, "save.save")
    expect(manager.item(FAMILY, "pasted")).to_be_visible()
    assert files(comfy)[FAMILY]["pasted"]["warmup_steps"] == 6


def test_what_cannot_be_imported_is_told_and_nothing_is_written(comfy):
    manager = Manager.of_editor(Editor(comfy))
    for text, said in {
        "{": "line",
        "Wan2.1_1.3b:\n  attention_configs:\n    bad: {warmup_steps: -1}\n": "warmup_steps",
        "a: &a [x, x]\nb: [*a, *a]\n": "alias",
    }.items():
        manager.item(FAMILY, "fast").click()
        comfy.paste(text)
        expect(comfy.page.get_by_role("alert").filter(has_text=said).first).to_be_visible()
        assert files(comfy) == {}


@pytest.mark.both
def test_files_are_dropped_on_the_node(comfy):
    editor = Editor(comfy)
    comfy.drop(editor.scope, "evening.yaml", "warmup_steps: 11\n")
    editor.wait_for(warmup_steps=11)
    # the seeds' whole file goes to the presets
    comfy.drop(editor.scope, "families.yaml", FILE)
    expect(comfy.page.get_by_role("status").get_by_text("Imported 2")).to_be_visible()
    assert set(files(comfy)[FAMILY]) == {"dawn", "noon"}
    assert editor.widgets()["warmup_steps"] == 11


def test_a_preset_leaves_as_a_file_and_as_text(comfy):
    editor = Editor(comfy)
    manager = Manager.of_editor(editor)
    manager.item(FAMILY, "fast").click()
    stored = comfy.ask("GET", f"presets/{FAMILY}/fast")
    with comfy.page.expect_download() as download:
        manager.press("manager.file")
    assert download.value.suggested_filename.endswith(".yaml")
    assert download.value.path().read_text(encoding="utf-8") == stored["yaml"]
    manager.press("manager.clipboard")
    expect(comfy.page.get_by_role("status").get_by_text(say("yaml.copied"))).to_be_visible()
    assert comfy.page.evaluate("navigator.clipboard.readText()") == stored["yaml"]

    # a whole family, which another machine can import
    press(manager.dialog, "manager.familyMenu", family=FAMILY)
    with comfy.page.expect_download() as download:
        comfy.page.get_by_role("menuitem", name=say("manager.exportFamily")).click()
    family = yaml.safe_load(download.value.path().read_text(encoding="utf-8"))
    assert {"fast", "faithful"} <= set(family[FAMILY]["attention_configs"])
    manager.close()

    edit(editor, 21)
    with comfy.page.expect_download() as download:
        editor.menu("menu.export")
    exported = yaml.safe_load(download.value.path().read_text(encoding="utf-8"))
    assert exported["warmup_steps"] == 21


def test_the_later_of_two_tabs_is_told_of_the_conflict(server, combination, open_page):
    one = open_page(server, combination[1])
    store(one, "shared", warmup_steps=1)
    two = open_page(server, combination[1])
    first, second = Editor(one), Editor(two)
    load(first, FAMILY, "shared")
    load(second, FAMILY, "shared")
    edit(first, 10)
    edit(second, 20)
    first.button("save.save").click()
    expect(first.unsaved).to_be_hidden()
    # the other tab notices, keeps its own changes and offers what is stored now
    expect(second.scope.get_by_text(say("notice.changed"))).to_be_visible()
    assert second.widgets()["warmup_steps"] == 20
    second.button("save.save").click()
    name = f"{FAMILY}/shared"
    asked = dialog(two, "conflict.title", name=name)
    expect(asked).to_contain_text("warmup_steps: 10 → 20")
    press(asked, "dialog.cancel")
    assert files(one)[FAMILY]["shared"]["warmup_steps"] == 10
    second.button("save.save").click()
    press(dialog(two, "conflict.title", name=name), "conflict.load")
    second.wait_for(warmup_steps=10)
    expect(second.scope.get_by_text(say("notice.changed"))).to_be_hidden()


def test_a_change_on_disk_is_noticed(comfy):
    store(comfy, "shared", warmup_steps=1)
    editor = Editor(comfy)
    load(editor, FAMILY, "shared")
    folder = comfy.server.base / "user" / "default" / "psa" / "presets"
    (path,) = folder.glob("*.yaml")
    text = path.read_text(encoding="utf-8")
    assert "warmup_steps: 1\n" in text
    path.write_text(text.replace("warmup_steps: 1\n", "warmup_steps: 31\n"), encoding="utf-8")
    notice = editor.scope.get_by_text(say("notice.changed"))
    expect(notice).to_be_visible()
    assert editor.widgets()["warmup_steps"] == 1
    editor.button("notice.load").click()
    editor.wait_for(warmup_steps=31)
    expect(notice).to_be_hidden()

    path.unlink()
    missing = editor.scope.get_by_text(say("notice.missing"))
    expect(missing).to_be_visible()
    assert editor.widgets()["warmup_steps"] == 31


def test_a_broken_file_of_the_users_is_named_and_the_rest_works(comfy):
    folder = comfy.server.base / "user" / "default" / "psa" / "presets"
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text("Wan2.1_1.3b:\n  attention_configs: [\n")
    comfy.load_page()
    manager = Manager.of_editor(Editor(comfy))
    expect(manager.dialog.get_by_text("broken.yaml").first).to_be_visible()
    expect(manager.item(FAMILY, "fast")).to_be_visible()
