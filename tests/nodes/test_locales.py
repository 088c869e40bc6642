"""locales/ is what the nodes and zh.yaml say, complete in both languages, and ComfyUI serves it."""

import re

from psa_kernels.config import FIELDS, GROUPS, LEVELS
from psa_pack.nodes.languages import LANGUAGES
from psa_pack.tools import locales

HAN = re.compile("[\u4e00-\u9fff]")


def test_the_files_are_in_step(comfy_client):
    info = {node: comfy_client.get(f"/object_info/{node}")[node] for node in locales.NODES}
    wanted = locales.files(info, locales.chinese())
    found = {
        path.relative_to(locales.FOLDER).as_posix(): path.read_text(encoding="utf-8")
        for path in locales.FOLDER.rglob("*") if path.is_file()
    }  # fmt: skip
    assert found == wanted, "run python -m tools.locales"
    assert {path.split("/")[0] for path in found} == set(LANGUAGES)


def test_comfyui_serves_both_languages(comfy_client):
    served = comfy_client.get("/i18n")
    for language in LANGUAGES:
        assert set(locales.NODES) <= served[language]["nodeDefs"].keys()
    editor = {x: served[x]["nodeDefs"]["PSAPresetEditor"] for x in LANGUAGES}
    assert editor["en"]["inputs"].keys() == editor["zh"]["inputs"].keys()
    for name, words in editor["zh"]["inputs"].items():
        assert HAN.search(words["name"]) and HAN.search(words["tooltip"]), name
        assert words != editor["en"]["inputs"][name]


def test_everything_is_said_in_chinese_and_nothing_else():
    table = locales.chinese()
    assert table["fields"].keys() == {field.path for field in FIELDS}
    assert table["groups"].keys() == GROUPS.keys()
    assert table["levels"].keys() == set(LEVELS)
    assert table["units"].keys() == {field.unit for field in FIELDS if field.unit}
    assert table["nodes"].keys() == set(locales.NODES)
    for path, words in table["fields"].items():
        assert words.keys() == {"label", "help"} and HAN.search(words["help"]), path


def test_numbers_and_names_survive_the_translation():
    """A choice or a number that the English names is named in Chinese too."""
    table = locales.chinese()
    for field in FIELDS:
        said = table["fields"][field.path]["help"]
        for choice in field.choices:
            name = "null" if choice is None else str(choice)
            if re.search(rf"\b{name}\b", field.help):
                assert name in said, (field.path, name)
