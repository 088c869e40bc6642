"""Reading text that nobody vouches for."""

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels.config import OddNumber
from psa_presets import TextError
from psa_presets.yaml_text import MAX_BYTES, MAX_ENTRIES, Document, dump, parse

from .figures import single_file

N = MAX_BYTES - 100
REFUSED = {
    # text: (line, a word of the message)
    "- 1\n- 2\n": (1, "mapping"),
    "just words": (1, "mapping"),
    "a: 1\nb: 2\na: 3\n": (3, "the key a appears twice"),
    "a:\n  b: 1\n  b: 2\n": (3, "the key b appears twice"),
    "a:\n  1: x\n  1: y\n": (3, "the key 1 appears twice"),
    "a: &x 1\nb: 2\n": (1, "anchors"),
    "a: 1\nb: *x\n": (2, "anchors"),
    "a: !!python/object/apply:os.system [ls]\n": (1, "!!python"),
    "a: !!str 1\n": (1, "tags like !!str"),
    "a: [1, 2\nb: 3\n": (2, "expected ',' or ']'"),
    "on: {type: psa}\n": (1, "'on' is not a key"),
    "a: 1\n1.3: {type: psa}\n": (2, "'1.3' is not a key"),
    "null: 1\n": (1, "is not a key"),
    "? [1, 2]\n: 3\n": (1, "is not a key"),
    "? {a: 1}\n: 3\n": (1, "is not a key"),
    f"{'k' * 129}: 1\n": (1, "128 characters"),
    f"a: {'9' * 65}\n": (1, "64 digits"),
    "a: 0b_\n": (1, "is not a number"),
    'a: 1\nb: "\\uD800"\n': (2, "surrogate"),
    'a: "\\U99999999"\n': (1, "out of range"),
    "%YAML " + "9" * 5000 + ".1\n---\na: 1\n": (1, "out of range"),
    "a: 1\nb: \0\n": (2, "0x0"),
    "a: \ud800\n": (1, "0xd800"),
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text[:30]))
def test_refused_with_the_line(text):
    line, words = REFUSED[text]
    with pytest.raises(TextError) as caught:
        parse(text, "mine.yaml")
    [problem] = caught.value.problems
    assert (problem.file, problem.line) == ("mine.yaml", line)
    assert words in problem.what
    assert str(caught.value).startswith("mine.yaml")
    assert "\n" not in str(caught.value)


BOMBS = {
    "brackets": "[" * N,
    "braces": "a: " + "{" * N,
    "dashes": "- " * (N // 2),
    "question marks": "? " * (N // 2),
    "deep": "".join(f"{' ' * i}a:\n" for i in range(500)),
    "lists": "a: [" + "[]," * (N // 3),
    "flow mapping": "a: {" + "b," * (N // 2),
    "many keys": "".join(f"k{i}:\n" for i in range(N // 9)),
    "many lists": "".join(f"k{i}: [{'1,' * 250}]\n" for i in range(250)),
    "laughs": "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n",
    "sexagesimal": "a: 1" + ":1" * (N // 2),
    "digits": "a: " + "9" * N,
    "too long": "a: " + "x" * MAX_BYTES,
    "too long in bytes": "a: " + "é" * (MAX_BYTES // 2),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_quickly(name):
    start = time.process_time()
    with pytest.raises(TextError) as caught:
        parse(BOMBS[name])
    assert time.process_time() - start < 5
    assert len(str(caught.value)) < 300


def test_entries_are_counted_exactly():
    keys = [f"k{i}: 1\n" for i in range(MAX_ENTRIES + 1)]
    assert len(parse("".join(keys[:-1])).data) == MAX_ENTRIES
    with pytest.raises(TextError, match=f"more than {MAX_ENTRIES}"):
        parse("".join(keys))


def test_plain_values():
    text = (
        "\ufeffa: True\r\nb: no\r\nc: ~\r\nd: 2024-01-01\r\n<<: {x: 1}\r\n1: [0.0, 1]\r\n"
        "'2': 0x20\r\ninf: .inf\r\n"
    )
    document = parse(text)
    assert document.data == {
        "a": True,
        "b": False,
        "c": None,
        "d": "2024-01-01",
        "<<": {"x": 1},
        1: [0.0, 1],
        "2": 32,
        "inf": float("inf"),
    }
    assert parse(text.encode()).data == document.data
    assert document.lines["a"] == 1
    assert document.lines["<<.x"] == 5


def test_numbers_as_people_read_them():
    text = "a: 1e-1\nb: [4E2, .5e1, -1.e+1, +1e0]\ndescription: 1e3\n1e3: '1e-1'\nc: 1e999\n"
    data = parse(text).data
    assert data == {
        "a": 0.1,
        "b": [400.0, 5.0, -10.0, 1.0],
        "description": "1e3",
        "1e3": "1e-1",
        "c": float("inf"),
    }
    assert parse(dump(data)).data == data
    for text, readings in {
        "010": [10, 8],
        "-017": [-17, -15],
        "1:10": [70],
        "1_000": [1000],
        "0x1_0": [16],
        "0b1_1": [3],
        "1_0.5": [10.5],
        "1:30.5": [90.5],
        "01_0": [10, 8],
    }.items():
        odd = parse(f"a: [{text}]\n{text}: 1\n").data
        assert list(odd) == ["a", text] and odd["a"] == [text]
        assert isinstance(odd["a"][0], OddNumber) and odd["a"][0].readings == readings
        listed = f"\n- {text}" if ":" in text else f" [{text}]"
        assert dump(odd) == f"a:{listed}\n{text}: 1\n"  # as it was, not as text
        assert parse(dump(odd)).data == odd
    for text, number in {"00": 0, "07": 7, "-01": -1, "0x10": 16, "0b11": 3, "0.5": 0.5}.items():
        assert parse(f"a: {text}").data == {"a": number}


def test_tabs_where_nothing_is_indented():
    tabs = "a:\t\n  b:\t[1,\t2]\t# c\n\t\n  c: d\te \t\n  'f'\t: {\n\tg: 1}\n"
    assert parse(tabs).data == {"a": {"b": [1, 2], "c": "d\te", "f": {"g": 1}}}
    assert parse(tabs).comments == 1
    for text, line in {
        "\ta: 1": 1,
        "a:\n\tb: 1": 2,
        "a:\n  b: 1\n  \tc: 2": 3,
        "a:\n \tb: 1": 2,
        "- \t- 1": 1,
        "a:\tb: 1": 1,
        "a: b\n \tc: d": 2,
    }.items():
        with pytest.raises(TextError) as caught:
            parse(text)
        assert caught.value.problems[0].line == line, text


@pytest.mark.parametrize("fence", ["```", "```yaml", "``` yml ", "~~~", "\n\n```yaml"])
def test_a_code_fence_around_it(fence):
    for end in ("", "\n```", "\n```\n\n", "\n~~~"):
        text = f"{fence}\na: 1\nb: 2{end}"
        if end and fence.strip()[:3] not in end:
            continue
        document = parse(text)
        assert document.data == {"a": 1, "b": 2}
        assert document.lines["b"] == text[: text.index("b:")].count("\n") + 1
        assert parse(text.replace("\n", "\r\n")).data == document.data
    with pytest.raises(TextError):
        parse("a: 1\n```\n")


def test_lines_fall_back_to_the_nearest_part():
    document = parse("Wan2.1:\n  attention_configs:\n    a.b:\n      type: psa\n")
    assert document.line_of("Wan2.1.attention_configs.a.b.type") == 4
    assert document.line_of("Wan2.1.attention_configs.a.b.block_size.n") == 3
    assert document.line_of("Wan2.1.video_scale.width") == 1
    assert document.line_of("elsewhere") is None


def test_dump_is_readable_and_stable():
    data = {"z": {"mask_ratios": {1: [0.0, 0.4], 0: [0.4, 1.0]}}, "a": "on", "b": None}
    text = dump(data)
    assert text == ("z:\n  mask_ratios:\n    1: [0.0, 0.4]\n    0: [0.4, 1.0]\na: 'on'\nb: null\n")
    shared = [1]
    assert dump({"a": shared, "b": shared}) == "a: [1]\nb: [1]\n"


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=20) | st.integers(0, 99), inner, max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=20), PLAIN, min_size=1, max_size=5))
def test_what_is_dumped_reads_back(data):
    assert parse(dump(data)).data == data


def in_yaml_11(data):
    """The data with the numbers that `parse` leaves to the validator, as YAML 1.1 reads them."""
    if isinstance(data, dict):
        return {in_yaml_11(key): in_yaml_11(value) for key, value in data.items()}
    if isinstance(data, list):
        return list(map(in_yaml_11, data))
    return yaml.safe_load(data) if isinstance(data, OddNumber) else data


SNIPPETS = st.sampled_from(
    [
        "a",
        ":",
        ": ",
        "\n",
        "  ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "? ",
        "&a ",
        "*a",
        "!!int ",
        "!x ",
        "|\n",
        ">-\n",
        '"',
        "'",
        "\\",
        "\\x",
        "\\U0011",
        "#",
        "%YAML 1",
        "---\n",
        "...\n",
        "0x",
        "1:2",
        ".inf",
        "<<",
        "=",
        "\t",
        "\r",
        "\x85",
        "\u2028",
        "\ufeff",
        "\0",
        "\ud800",
        "é",
        "1e999",
        "~",
    ]
)


@settings(max_examples=800, deadline=None)
@given(st.lists(SNIPPETS | st.text(max_size=3), max_size=30).map("".join))
def test_any_text_is_read_or_refused(text):
    for form in (text, text.encode("utf-8", "surrogatepass")):
        try:
            assert isinstance(parse(form), Document)
        except TextError as error:
            assert str(error)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_real_file_with_one_wound(data):
    text = single_file().partition("Wan2.1_1.3b:")[0]
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 5))
    wounded = text[:at] + data.draw(SNIPPETS) + text[at + cut :]
    try:
        ours = parse(wounded).data
    except TextError:
        return
    try:
        theirs = yaml.safe_load(wounded)
    except yaml.YAMLError:
        # tabs and a fence; with spaces for them, everyone reads it
        assert "\t" in wounded
        theirs = yaml.safe_load(wounded.replace("\t", " "))
    # where both read it, they agree (dates apart, which this text has none of)
    assert in_yaml_11(ours) == theirs
