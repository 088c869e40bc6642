"""docs/routes.md is true: its routes are those there are, and every example answers as it says."""

import json
import re
import urllib.parse

import pytest

from ...pack_import import ROOT

PAGE = (ROOT / "docs" / "routes.md").read_text(encoding="utf-8")
HEAD = r"^## `(GET|POST|PUT|DELETE) (/psa/[^`]*)`\n"
SECTIONS = re.findall(HEAD + r"(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
# PUT of a preset is shown before its renaming, and that before its removal: each needs the first
NIGHT = {"config": {"tail": 32}, "expected": None}


def blocks(text):
    """[(kind, JSON)] of a section's fenced examples."""
    fenced = re.findall(r"^```json (.+?)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(kind, json.loads(body)) for kind, body in fenced]


def test_every_route_is_documented_and_nothing_else(app):
    from psa_pack.nodes.routes import ROUTES

    assert sorted(route[:2] for route in ROUTES) == sorted(section[:2] for section in SECTIONS)


def assert_like(shown, found, where=""):
    """The same keys and types as the documented answer; lists are compared by their first entry.

    Mappings from fields to values (config, widgets, ...) show a few entries of many.
    """
    if isinstance(shown, dict):
        assert isinstance(found, dict), where
        some = where.rsplit(".", 1)[-1] in PARTLY
        assert shown.keys() <= found.keys() if some else shown.keys() == found.keys(), (
            where, sorted(shown.keys() ^ found.keys()),
        )  # fmt: skip
        for key, value in shown.items():
            assert_like(value, found[key], f"{where}.{key}")
    elif isinstance(shown, list):
        assert isinstance(found, list), where
        if shown:
            assert found, f"{where} is empty"
            first = found[0]
            for key in ("path", "name"):  # the entry that is shown, not just any
                if isinstance(shown[0], dict) and key in shown[0]:
                    first = next(x for x in found if x[key] == shown[0][key])
            assert_like(shown[0], first, f"{where}[0]")
    elif shown is None:
        assert found is None, where
    elif isinstance(shown, bool) or (
        isinstance(shown, str)
        and len(shown) < 20
        and "…" not in shown
        and not re.fullmatch("[0-9a-f]{16}", shown)
    ):
        assert found == shown, where
    elif isinstance(shown, (int, float)):
        assert found == pytest.approx(shown, rel=0.05), where
    else:
        assert isinstance(found, type(shown)), where
        start = shown.partition("…")[0]
        assert re.fullmatch("[0-9a-f]+", start) or found.startswith(start), (where, found)


PARTLY = ("config", "widgets", "not_applicable", "lines", "measured")


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: f"{s[0]} {s[1]}")
def test_every_example_answers_as_it_says(app, gpu, section):
    method, path, text = section
    if "night" in text and method != "PUT":
        assert app.ask("PUT", "/psa/presets/Wan2.1_1.3b/night", NIGHT)[0] == 200
    place, query, body, answers = {}, {}, None, 0
    for kind, content in blocks(text):
        if kind == "example":
            place, query = content.get("path", {}), content.get("query", {})
        elif kind == "request":
            body = content
        else:
            status = int(kind.removeprefix("response "))
            url = path
            for name, value in place.items():
                url = url.replace("{" + name + "}", urllib.parse.quote(value))
            url += "?" + urllib.parse.urlencode(query) if query else ""
            got, answer, _ = app.ask(method, url, body)
            assert got == status, answer
            shown = content
            if method in ("PUT", "POST") and "/presets/" in path:  # the preset is shown with PUT
                answer = {key: answer[key] for key in shown}
            assert_like(shown, answer)
            answers += 1
    assert answers


def test_every_kind_of_error_is_documented():
    from psa_pack.nodes.routes import errors

    table = set(re.findall(r"^  \| \d+ \| `(\w+)`", PAGE, re.MULTILINE))
    raised = {name for _, name in errors._KINDS.values()} | {"invalid_preset"}
    for file in (ROOT / "nodes" / "routes").glob("*.py"):
        source = file.read_text(encoding="utf-8")
        raised |= set(re.findall(r'Refusal\(\s*\d+, "(\w+)"', source))
    assert raised == table
