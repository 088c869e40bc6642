"""The page's words: each is there, in both languages, and used."""

import json
import re

import pytest

from ..pack_import import ROOT
from .editor import Editor
from .words import FOLDER, say

expect = pytest.importorskip("playwright.sync_api", reason="needs playwright").expect

LOCALES = sorted(path.stem for path in FOLDER.glob("*.json"))
SOURCES = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "web").rglob("*.js")}
# t("a.b" …), also chosen between: t(plain ? "menu.a" : "menu.b"); a name that is put together
# at run time, t(`manager.${name}`), stands for all that begin like it
KEY = re.compile(r"\"([a-z]+\.[a-zA-Z]+)\"")
BEGINNING = re.compile(r"\bt\(`([a-z]+\.)\$\{")


def words(locale):
    return json.loads((FOLDER / f"{locale}.json").read_text(encoding="utf-8"))


def used():
    text = "\n".join(SOURCES.values())
    english = words("en")
    keys = {key for key in KEY.findall(text) if key.split(".")[0] + "." in prefixes(english)}
    beginnings = tuple(BEGINNING.findall(text))
    return keys, beginnings


def prefixes(english):
    return {key.split(".")[0] + "." for key in english}


def test_every_word_that_is_used_is_there_and_none_is_left_over():
    keys, beginnings = used()
    english = words("en")
    assert len(keys) > 80
    assert keys - english.keys() == set()
    left = {key for key in english.keys() - keys if not key.startswith(beginnings)}
    assert left == set()


@pytest.mark.parametrize("locale", LOCALES)
def test_every_language_says_the_same_things(locale):
    english, other = words("en"), words(locale)
    assert other.keys() == english.keys()
    for key, text in other.items():
        assert text.strip()
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", english[key])), key


def test_chinese_is_one_of_them():
    assert LOCALES == ["en", "zh"]
    same = [key for key, text in words("zh").items() if text == words("en")[key]]
    assert len(same) < 10, same


@pytest.mark.both
def test_the_page_speaks_chinese(server, combination, open_page):
    comfy = open_page(server, combination[1], locale="zh")
    node = comfy.add("PSAPresetEditor", (100, 130))
    panel = comfy.panel(node)
    expect(panel.get_by_role("button", name=say("save.save", "zh"), exact=True)).to_be_visible()
    described = comfy.ask("GET", "fields?locale=zh")
    (field,) = (f for f in described["fields"] if f["path"] == "mask_ratios")
    assert re.search("[\u4e00-\u9fff]", field["label"])
    expect(panel.get_by_role("region", name=field["label"])).to_be_visible()
    (level,) = (lv["label"] for lv in described["levels"] if lv["level"] == 1)
    expect(panel.get_by_role("slider", name=level)).to_be_visible()


def test_a_language_that_we_lack_is_english(server, combination, open_page):
    comfy = open_page(server, combination[1], locale="fr")
    editor = Editor(comfy)
    editor.open_section("warmup_steps")
    expect(editor.field("warmup_steps")).to_be_visible()
