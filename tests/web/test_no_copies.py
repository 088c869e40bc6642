"""The page holds no copy of what Python says about fields: it asks for all of it."""

import re

import pytest
from pygments.lexers import JavascriptLexer
from pygments.token import Comment, Name, Number, String

from psa_kernels.config import FIELDS

from ..pack_import import ROOT

SCRIPTS = sorted((ROOT / "web").rglob("*.js"))
TEXTS = [*SCRIPTS, *sorted(p for p in (ROOT / "web").rglob("*.*") if p.suffix in (".json", ".css"))]

# Words that the page also has for reasons of its own: of HTML, of ComfyUI, of docs/routes.md.
OWN_WORDS = {
    "type",  # of an element, an event, a node
    "description",  # in the list of presets
    "steps",  # a widget of samplers, and of a plan
    "mask_ratios",  # the kind of field that is drawn as a bar
    "m", "n",
}  # fmt: skip
# (file, number); beside these, a number on a line that ends in "// px…" or "// ms…" is no copy
OWN_NUMBERS = {
    ("dialog.js", 8.0),  # a menu's distance from the window's edge
    ("dialog.js", 1000.0),  # milliseconds in a second
    ("estimate.js", 16.0),  # what an arrow key adds to a video's width in pixels
}
LENGTH_OR_TIME = re.compile(r"// (px|ms)\b")


def field_names():
    names = {part for f in FIELDS for part in (f.argument, f.path, *f.path.split("."))}
    return names - OWN_WORDS


def options():
    return {choice for f in FIELDS for choice in f.choices if isinstance(choice, str)}


def numbers():
    """Ranges, defaults and numeric choices; -1, 0, 1, 2, 4 and 100 are everybody's."""
    found = set()
    for f in FIELDS:
        found |= {f.low, f.high, f.step, *f.choices}
        if f.kind in ("int", "float"):
            found.add(f.default)
        elif f.kind == "ints":
            found |= set(f.default)
        elif f.kind == "mask_ratios":
            found |= {end for pair in f.default.values() for end in pair}
    everybodys = {-1.0, 0.0, 1.0, 2.0, 4.0, 100.0}
    return {float(x) for x in found if isinstance(x, int | float)} - everybodys


def tokens(path):
    """(line number, the line, token type, text) without comments."""
    source = path.read_text(encoding="utf-8")
    lines, number = source.splitlines(), 1
    for kind, text in JavascriptLexer(stripnl=False).get_tokens(source):
        if kind not in Comment and text.strip():
            yield number, lines[number - 1], kind, text
        number += text.count("\n")


def quoted(text):
    """What a string literal, or one dotted or spaced part of it, says."""
    inner = text.strip("\"'`")
    return {inner, *inner.split()}


def test_there_are_scripts_to_look_at():
    assert len(SCRIPTS) >= 10
    assert {"warmup_steps", "block_size.n", "tail"} <= field_names()
    assert {"topk", "Gilbert", "none"} <= options()
    assert {1024.0, 0.15, 128.0} <= numbers()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_field_option_or_number_of_python(path):
    names, choices, values = field_names(), options(), numbers()
    copies = []
    for number, line, kind, text in tokens(path):
        where = f"{path.relative_to(ROOT)}:{number}: {text}"
        if kind in String:
            words = quoted(text) - ({"auto"} if "popover:" in line else set())  # HTML's own
            # psa is also what our class names and routes begin with
            if words & names or (words & choices and words != {"psa"} and "psa" not in words):
                copies.append(where)
        elif kind in Name and "_" in text and text in names:
            copies.append(where)
        elif kind in Number and not LENGTH_OR_TIME.search(line):
            value = float(int(text, 0)) if re.match("0[xbo]", text) else float(text.rstrip("n"))
            if value in values and (path.name, value) not in OWN_NUMBERS:
                copies.append(where)
    assert not copies, "\n".join(copies)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_help_text_of_python(path):
    text = path.read_text(encoding="utf-8")
    # the beginning of a sentence is enough to know it by
    assert [f.path for f in FIELDS if f.help[:24] in text] == []
