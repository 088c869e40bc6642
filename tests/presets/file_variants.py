"""Preset files as people write them by hand, each with what becomes of it.

`VARIANTS` maps a name to (the file's bytes, `Loads` or `Refused`). Most are one file, the family
Mine with its preset p, with something written in another way.
"""

# ruff: noqa: RUF001 - full-width characters are what some of these are about

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .figures import single_file

HEAD = """\
Mine:
  default_attention: p
  video_scale: {width_divisor: 16, height_divisor: 16, depth_divisor: 4}
  text_length: 0
  attention_configs:
    p:
"""
HALF = {1: (0.0, 0.4), 0: (0.4, 1.0)}
SHIPPED = Path(__file__).parents[2] / "presets"


@dataclass(frozen=True)
class Loads:
    """The preset is there: `values` are its `PSAConfig` arguments that are not at their default.

    problems   words of what is said of the file nevertheless
    """

    values: dict[str, Any] = field(default_factory=dict)
    preset: tuple[str, str] = ("Mine", "p")
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """The preset is not there; the first problem is at this line and has these words."""

    line: int | None
    words: tuple[str, ...]


def loads(**values: Any) -> Loads:
    return Loads(values)


def refused(line: int | None, *words: str) -> Refused:
    return Refused(line, words)


def p(settings: str, head: str = HEAD, indent: str = "      ") -> bytes:
    """The file with these settings in p: their first line is line 7."""
    return (head + "".join(f"{indent}{line}\n" for line in settings.splitlines())).encode()


def value(text: str) -> bytes:
    return p(f"warmup_steps: {text}")


def flag(text: str) -> bytes:
    return p(f"second_moment: {text}")


def ratio(text: str) -> bytes:
    """`text` as the end of level 1."""
    return p(f"mask_ratios:\n  1: [0.0, {text}]\n  0: [{text}, 1.0]")


def threshold(text: str) -> bytes:
    return p(f"sim_thresholds: {{x2: {text}}}")


SOME = "warmup_steps: 4\ntail: 16"
BOTH = loads(warmup_steps=4, tail=16)
WHOLE = p(SOME)
JSON = (
    '{"Mine": {"default_attention": "p", "video_scale": {"width_divisor": 16, "height_divisor": '
    '16, "depth_divisor": 4}, "text_length": 0, "attention_configs": {"p": {"warmup_steps": 4, '
    '"tail": 16}}}}'
)
SPREAD_JSON = """\
{
  "Mine": {
    "default_attention": "p",
    "video_scale": {
      "width_divisor": 16,
      "height_divisor": 16,
      "depth_divisor": 4
    },
    "text_length": 0,
    "attention_configs": {
      "p": {
        "warmup_steps": 4,
        "mask_ratios": {"1": [0, 0.4], "0": [0.4, 1]},
        "tail": 16
      }
    }
  }
}
"""

LINE_ENDS = {
    "line feed": (WHOLE, BOTH),
    "carriage return and line feed": (WHOLE.replace(b"\n", b"\r\n"), BOTH),
    "carriage return": (WHOLE.replace(b"\n", b"\r"), BOTH),
    "mixed": (WHOLE.replace(b"\n", b"\r\n", 3), BOTH),
    "no end of the last line": (WHOLE.rstrip(), BOTH),
    "empty lines": (WHOLE.replace(b"\n", b"\n\n") + b"\n\n\n", BOTH),
    "spaces at the ends of lines": (WHOLE.replace(b"\n", b"  \n"), BOTH),
    "lines of spaces": (WHOLE.replace(b"\n", b"\n   \n"), BOTH),
    "next line of ISO 6429": (WHOLE.decode().replace("\n", "\x85").encode(), BOTH),
}

ENCODINGS = {
    "byte order mark": (b"\xef\xbb\xbf" + WHOLE, BOTH),
    "byte order mark and CRLF": (b"\xef\xbb\xbf" + WHOLE.replace(b"\n", b"\r\n"), BOTH),
    "UTF-16": (WHOLE.decode().encode("utf-16"), refused(1, "not UTF-8", "save it as UTF-8")),
    "UTF-16 without a mark": (WHOLE.decode().encode("utf-16-le"), refused(1, "0x0")),
    "Latin-1": (p("description: café").decode().encode("latin-1"), refused(7, "not UTF-8")),
    "GBK": (p("description: 快速").decode().encode("gbk"), refused(7, "not UTF-8")),
    "a NUL at the end": (WHOLE + b"\0", refused(9, "0x0")),
    "a bell": (p("description: a\ab"), refused(7, "0x7")),
    "no-break space before a value": (p("tail:\u00a016"), refused(6, "a preset is a mapping")),
    "zero-width space behind a value": (p("tail: 16\u200b"), refused(7, "tail: found '16")),
}

CHINESE = {
    "description": (
        p("description: 快速预设，适合 4 步"),
        loads(description="快速预设，适合 4 步"),
    ),
    "comment": (p("# 预热步数\nwarmup_steps: 4  # 四步\ntail: 16"), BOTH),
    "full-width colon": (p("tail：16"), refused(6, "found 'tail：16'; a preset is a mapping")),
    "full-width colon after a good line": (
        p("warmup_steps: 4\ntail：16"),
        refused(9, "could not find expected ':'"),
    ),
    "full-width comma in a pair": (
        p("mask_ratios: {1: [0，0.4], 0: [0.4, 1]}"),
        refused(7, "found ['0，0.4']", "mask_ratios.1 to [0, 0.4]"),
    ),
    "full-width digits": (value("４"), refused(7, "found '４'", "set warmup_steps to 4")),
    "full-width quotes": (p("description: “fast”"), loads(description="“fast”")),
    "family name": (
        WHOLE.decode().replace("Mine", "我的").encode(),
        refused(1, "a name is made of"),
    ),
    "preset name": (
        WHOLE.decode().replace("p:\n", "快:\n").encode(),
        refused(6, "a name is made of"),
    ),
    "escaped": (p('description: "\\u5feb\\u901f"'), loads(description="快速")),
}

BOOLEANS = {
    **{
        text: (flag(text), loads(second_moment=True))
        for text in ("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON")
    },
    **{
        text: (p(f"use_rearrange: {text}"), loads(use_rearrange=False))
        for text in ("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF")
    },
    "y": (flag("y"), refused(7, "found 'y'", "set second_moment to True")),
    "quoted": (flag('"true"'), refused(7, "found 'true'", "set second_moment to True")),
    "1": (flag("1"), refused(7, "found 1", "set second_moment to True")),
    "misspelt": (flag("ture"), refused(7, "found 'ture'", "set second_moment to True")),
    "enabled": (flag("enabled"), refused(7, "found 'enabled'", "set second_moment to True")),
    "explicit": (flag("!!bool yes"), refused(7, "tags like !!bool")),
    "a key": (p("on: true"), refused(7, "'on' is not a key")),
    "none": (flag(""), refused(7, "found None")),
}

INTEGERS = {
    "plain": (value("4"), loads(warmup_steps=4)),
    "plus": (value("+4"), loads(warmup_steps=4)),
    "hexadecimal": (value("0x10"), loads(warmup_steps=16)),
    "binary": (value("0b100"), loads(warmup_steps=4)),
    "zero twice": (value("00"), loads(warmup_steps=0)),
    "seven with a zero": (value("07"), loads(warmup_steps=7)),
    "eight with a zero": (value("08"), refused(7, "found '08'", "set warmup_steps to 8")),
    "octal": (
        value("010"),
        refused(7, "found 010", "without a zero in front", "to 10, or set warmup_steps to 8"),
    ),
    "negative octal": (threshold("-01"), loads(sim_2x_threshold=-1.0)),
    "octal of YAML 1.2": (value("0o10"), refused(7, "found '0o10'", "set warmup_steps to 8")),
    "octal of a choice": (
        p("block_size: {n: 0100}"),
        refused(7, "found 0100", "set block_size.n to 64"),
    ),
    "octal in a list": (
        p("tile_size: [010, 8, 8]"),
        refused(7, "found [010, 8, 8]", "without a zero", "to [10, 8, 8]"),
    ),
    "base 60": (value("1:10"), refused(7, "found 1:10", "without a colon", "to 70")),
    "underscore": (value("1_0"), refused(7, "found 1_0", "without underscores", "to 10")),
    "underscore in a hexadecimal": (value("0x1_0"), refused(7, "0x1_0", "to 16")),
    "thousands": (value("1,000"), refused(7, "found '1,000'", "set warmup_steps to 1000")),
    "quoted": (value("'4'"), refused(7, "found '4'", "set warmup_steps to 4")),
    "a float": (value("4.0"), refused(7, "found 4.0", "set warmup_steps to 4")),
    "with an exponent": (value("1e1"), refused(7, "found 10.0", "set warmup_steps to 10")),
    "with its unit": (value("4 steps"), refused(7, "found '4 steps'", "set warmup_steps to 4")),
    "negative": (value("-4"), refused(7, "found -4", "set warmup_steps to 0")),
    "a word": (value("four"), refused(7, "found 'four'")),
    "a comment without a space": (value("4#four"), refused(7, "found '4#four'")),
    "octal of the family": (
        p(SOME, HEAD.replace("text_length: 0", "text_length: 0100")),
        refused(4, "found 0100", "without a zero in front", "set Mine.text_length to 100"),
    ),
    "base 60 of the family": (
        p(SOME, HEAD.replace("width_divisor: 16", "width_divisor: 1:20")),
        refused(3, "found 1:20", "without a colon"),
    ),
}

FLOATS = {
    "plain": (ratio("0.4"), loads(mask_ratios=HALF)),
    "no zero": (ratio(".4"), loads(mask_ratios=HALF)),
    "more digits": (ratio("0.4000"), loads(mask_ratios=HALF)),
    "plus": (ratio("+0.4"), loads(mask_ratios=HALF)),
    "exponent of YAML 1.1": (ratio("4.0e-1"), loads(mask_ratios=HALF)),
    "exponent without a point": (ratio("4e-1"), loads(mask_ratios=HALF)),
    "exponent without a sign": (ratio("0.04e1"), loads(mask_ratios=HALF)),
    "capital exponent": (threshold("7E-1"), loads(sim_2x_threshold=0.7)),
    "whole numbers": (p("mask_ratios: {1: [0, 1]}"), loads(mask_ratios={1: (0.0, 1.0)})),
    "ends in a point": (p("mask_ratios: {1: [0., 1.]}"), loads(mask_ratios={1: (0.0, 1.0)})),
    "decimal comma": (threshold("0,7"), refused(7, "sim_thresholds.7: found an unknown key")),
    "decimal comma outside of braces": (
        p("sim_thresholds:\n  x2: 0,7"),
        refused(8, "found '0,7'", "x2 to 0.7"),
    ),
    "per cent": (ratio("40%"), refused(8, "found [0.0, '40%']", "mask_ratios.1 to [0, 0.4]")),
    "of a hundred": (
        p("mask_ratios: {1: [0, 40], 0: [40, 100]}"),
        refused(7, "found [0, 40]", "mask_ratios.1 to [0, 0.4]"),
    ),
    "quoted": (threshold("'0.7'"), refused(7, "found '0.7'", "set sim_thresholds.x2 to 0.7")),
    "infinite": (threshold(".inf"), refused(7, "found inf")),
    "no number": (threshold(".nan"), refused(7, "found nan")),
    "underscore": (threshold("0_0.7"), refused(7, "found 0_0.7", "without underscores", "to 0.7")),
    "base 60": (threshold("0:0.5"), refused(7, "found 0:0.5", "without a colon", "to 0.5")),
    "noise at a joint": (
        p("mask_ratios: {1: [0, 0.30000000000000004], 0: [0.3, 1]}"),
        loads(mask_ratios={1: (0.0, 0.30000000000000004), 0: (0.3, 1.0)}),
    ),
    "noise inside a pair": (
        p("mask_ratios: {1: [0, 0.3], 2: [0.30000000000000004, 0.3], 0: [0.3, 1]}"),
        loads(
            mask_ratios={
                1: (0.0, 0.3),
                2: (0.30000000000000004, 0.30000000000000004),
                0: (0.3, 1.0),
            }
        ),
    ),
    "noise at the end": (
        p("mask_ratios: {1: [0, 0.4], 0: [0.4, 1.0000000000000002]}"),
        loads(mask_ratios=HALF),
    ),
    "noise at the start": (
        p("mask_ratios: {1: [-1e-17, 0.4], 0: [0.4, 1]}"),
        loads(mask_ratios=HALF),
    ),
    "noise of a threshold": (threshold("1.0000000000000002"), loads(sim_2x_threshold=1.0)),
}

TEXTS = {
    "plain": (p("description: for my cat"), loads(description="for my cat")),
    "single quotes": (p("description: 'it''s mine: yes'"), loads(description="it's mine: yes")),
    "double quotes": (p('description: "a\\tb: #c"'), loads(description="a\tb: #c")),
    "quoted keys": (p("'warmup_steps': 4\n\"tail\": 16"), BOTH),
    "a colon": (p("description: fast: very"), refused(7, "mapping values are not allowed")),
    "a number sign": (p("description: a#b # c"), loads(description="a#b")),
    "literal block": (
        p("description: |\n  one\n  two\ntail: 16"),
        loads(description="one\ntwo\n", tail=16),
    ),
    "folded block": (
        p("description: >-\n  one\n  two\ntail: 16"),
        loads(description="one two", tail=16),
    ),
    "over two lines": (
        p("description: one\n  two\ntail: 16"),
        loads(description="one two", tail=16),
    ),
    "a date": (p("description: 2026-11-29"), loads(description="2026-11-29")),
    "a number": (p("description: 5"), refused(7, "description: found 5", "description to 5")),
    "a float with an exponent": (p("description: 1e3"), loads(description="1e3")),
    "a time": (p("description: 12:30"), loads(description="12:30")),
    "octal": (p("description: 010"), loads(description="010")),
    "yes": (p("description: yes"), refused(7, "description: found True")),
    "empty": (p('description: ""'), loads()),
    "null": (p("description: null"), refused(7, "description: found None")),
    "nothing": (p("description:"), refused(7, "description: found None")),
    "an open quote": (p("description: 'a\ntail: 16"), refused(9, "unexpected end of stream")),
    "smart quotes around a choice": (
        p("mask_mode: “topk”"),
        refused(7, "found '“topk”'", "set mask_mode to topk"),
    ),
    "spaces in quotes": (p("mask_mode: 'topk '"), refused(7, "set mask_mode to topk")),
    "another case": (p("mask_mode: TopK"), refused(7, "set mask_mode to topk")),
    "half a choice": (p("attn_impl: old"), refused(7, "found 'old'", "attn_impl to old_mask_type")),
    "a name with an exponent": (
        p(SOME).replace(b"p:\n", b"1e3:\n").replace(b"_attention: p", b"_attention: 1e3"),
        Loads(BOTH.values, ("Mine", "1e3")),
    ),
    "a number for a name": (
        p(SOME).replace(b"p:\n", b"12:\n"),
        refused(6, "a name is text, not 12; put it in quotes"),
    ),
}

NULLS = {
    "null": (p("rearrange_method: null"), loads()),
    "tilde": (p("rearrange_method: ~"), loads()),
    "nothing": (p("rearrange_method:"), loads()),
    "none": (p("rearrange_method: none"), refused(7, "set rearrange_method to null")),
    "None": (p("rearrange_method: None"), refused(7, "set rearrange_method to null")),
    "null for a tail": (p("tail: null"), refused(7, "set tail to none")),
    "an empty preset": (p(""), refused(6, "a preset is a mapping")),
    "empty braces": (WHOLE.replace(b"p:\n", b"p: {}\n").split(b"      w")[0], loads()),
    "text that varies": (p(SOME, HEAD.replace("text_length: 0", "text_length: null")), BOTH),
}

INDENTS = {
    "one space": (
        b"\n".join(
            b" " * ((len(line) - len(line.lstrip())) // 2) + line.lstrip()
            for line in WHOLE.splitlines()
        ),
        BOTH,
    ),
    "four spaces": (
        b"\n".join(b" " * (len(line) - len(line.lstrip())) + line for line in WHOLE.splitlines()),
        BOTH,
    ),
    "the whole file": (b"\n".join(b"  " + line for line in WHOLE.splitlines()), BOTH),
    "one line too far": (
        p("warmup_steps: 4\n tail: 16"),
        refused(8, "mapping values are not allowed"),
    ),
    "one line too near": (p(" warmup_steps: 4\ntail: 16"), refused(8, "<block end>")),
    "not at all": (
        WHOLE.replace(b"  ", b""),
        refused(2, "default_attention is here without a family"),
    ),
    "a tab": (WHOLE.replace(b"      tail", b"\t\t\ttail"), refused(8, "'\\t'")),
    "tabs everywhere": (WHOLE.replace(b"  ", b"\t"), refused(2, "'\\t'", "indent with spaces")),
    "a tab in front of a value": (p("warmup_steps: 4\ntail:\t16"), BOTH),
    "a tab behind a value": (p("warmup_steps: 4\t\ntail: 16"), BOTH),
    "a tab behind a key": (p("block_size:\t\n  n: 32"), loads(block_n=32)),
    "a tab in front of a comment": (p("warmup_steps: 4\t# four\ntail: 16"), BOTH),
    "a line of tabs": (p("warmup_steps: 4\n\t\t\ntail: 16"), BOTH),
    "a tab inside of text": (p("description: a\tb"), loads(description="a\tb")),
    "a tab inside of quotes": (p("description: 'a\tb'"), loads(description="a\tb")),
    "a tab at the end of a literal line": (
        p("description: |\n  a\t\n  b"),
        loads(description="a\t\nb\n"),
    ),
}

JSONS = {
    "in one line": (JSON.encode(), BOTH),
    "spread": (SPREAD_JSON.encode(), loads(warmup_steps=4, tail=16, mask_ratios=HALF)),
    "by tabs": (
        SPREAD_JSON.replace("  ", "\t").encode(),
        loads(warmup_steps=4, tail=16, mask_ratios=HALF),
    ),
    "comma at the end": (
        SPREAD_JSON.replace('"tail": 16', '"tail": 16,').encode(),
        loads(warmup_steps=4, tail=16, mask_ratios=HALF),
    ),
    "comments of JavaScript": (
        SPREAD_JSON.replace('"tail"', '// the tail\n"tail"').encode(),
        refused(15, "expected ',' or '}'"),
    ),
    "null": (
        JSON.replace('"tail": 16', '"rearrange_method": null').encode(),
        loads(warmup_steps=4),
    ),
    "a number as text": (
        JSON.replace("16}}}}", '"16"}}}}').encode(),
        refused(1, "tail: found '16'", "set tail to 16"),
    ),
    "true": (
        JSON.replace('"tail": 16', '"second_moment": true').encode(),
        loads(warmup_steps=4, second_moment=True),
    ),
    "single quotes": (JSON.replace('"', "'").encode(), BOTH),
    "no space behind a colon": (JSON.replace(": ", ":").encode(), BOTH),
    "a missing brace": (JSON[:-1].encode(), refused(1, "expected ',' or '}'")),
    "a list around it": (f"[{JSON}]".encode(), refused(1, "a mapping")),
}

YAMLS = {
    "document start and end": (b"---\n" + WHOLE + b"...\n", BOTH),
    "version 1.1": (b"%YAML 1.1\n---\n" + WHOLE, BOTH),
    "version 1.2": (b"%YAML 1.2\n---\n" + WHOLE, BOTH),
    "two documents": (WHOLE + b"---\n" + WHOLE, refused(9, "another document")),
    "an anchor": (p("block_size: &sizes {n: 32}"), refused(7, "anchors (&)")),
    "an alias": (p("block_size: *sizes"), refused(7, "aliases (*)")),
    "a merge key": (p("<<: {tail: 16}"), refused(7, "<<: found an unknown key")),
    "a tag": (p("warmup_steps: !!int 4"), refused(7, "tags like !!int")),
    "a tag of Python": (p("tile_size: !!python/tuple [2, 8, 8]"), refused(7, "tags like")),
    "a tag of its own": (p("tail: !mine 16"), refused(7, "tags like !mine")),
    "comments": (
        b"# head\n" + p("# one\nwarmup_steps: 4  # two\n# three\ntail: 16") + b"# end",
        BOTH,
    ),
    "a comment in a pair": (
        p("mask_ratios:\n  1: [0,  # from\n    0.4]\n  0: [0.4, 1]"),
        loads(mask_ratios=HALF),
    ),
    "pairs as lists of lines": (
        p("mask_ratios:\n  1:\n    - 0\n    - 0.4\n  0:\n  - 0.4\n  - 1"),
        loads(mask_ratios=HALF),
    ),
    "levels in another order": (
        p("mask_ratios: {0: [0.4, 1], 1: [0, 0.4]}"),
        loads(mask_ratios=HALF),
    ),
    "levels as text": (p("mask_ratios: {'1': [0, 0.4], '0': [0.4, 1]}"), loads(mask_ratios=HALF)),
    "explicit keys": (p("? warmup_steps\n: 4\n? tail\n: 16"), BOTH),
    "a key twice": (p("tail: 16\ntail: 32"), refused(8, "the key tail appears twice")),
    "a level twice": (
        p("mask_ratios: {1: [0, 0.4], 1: [0.4, 1]}"),
        refused(7, "the key 1 appears twice"),
    ),
    "a family twice": (WHOLE + WHOLE, refused(9, "the key Mine appears twice")),
    "a level in octal": (p("mask_ratios: {01: [0, 0.4], 0: [0.4, 1]}"), loads(mask_ratios=HALF)),
    "a list of presets": (p("- tail: 16"), refused(6, "a preset is a mapping")),
    "no space behind a colon": (p("tail:16"), refused(6, "a preset is a mapping")),
    "an equals sign": (p("tail = 16"), refused(6, "a preset is a mapping")),
    "semicolons": (p("warmup_steps: 4;\ntail: 16"), refused(7, "found '4;'")),
    "an unknown key": (p("tails: 16"), refused(7, "did you mean tail?")),
    "a key in capitals": (p("Tail: 16"), refused(7, "did you mean tail?")),
    "a dotted key": (p("block_size.n: 32"), refused(7, "write n inside the mapping block_size")),
    "only comments": (b"# nothing yet\n", refused(None, "nothing in it")),
    "empty": (b"", refused(None, "nothing in it")),
}

DENSE_TWO = {"0-1": "dense"}
BLOCKS = {
    "a number": (p("blocks: {12: dense}"), loads(blocks={12: "dense"})),
    "a range": (p("blocks:\n  0-1: dense"), loads(blocks=DENSE_TWO)),
    "a quoted range": (p('blocks: {"0-1": dense}'), loads(blocks=DENSE_TWO)),
    "a list": (p("blocks: {'0, 1': dense}"), loads(blocks=DENSE_TWO)),
    "a quoted zero in front": (p("blocks: {'010': dense}"), loads(blocks={10: "dense"})),
    "octal": (
        p("blocks: {010: dense}"),
        refused(7, "blocks.010: found 010", "did you mean 10 or 8?"),
    ),
    "a colon": (p("blocks: {1:20: dense}"), refused(7, "found 1:20", "did you mean 1-20?")),
    "a colon from 0": (p("blocks:\n  0:20: dense"), refused(8, "blocks.0:20")),
    "an underscore": (p("blocks: {1_0: dense}"), refused(7, "found 1_0", "did you mean 10?")),
    "a list of YAML": (p("blocks:\n  [0, 1]: dense"), refused(8, "not a key here")),
    "two dots": (p("blocks: {0..1: dense}"), refused(7, "cannot read '0..1'")),
    "a list under dense": (p("blocks: {dense: [0, 1]}"), refused(7, "blocks.dense")),
    "of steps": (
        p("steps:\n  0-10%: {blocks: {0-1: dense}}\n  10-100%: {tail: 16}"),
        loads(steps={"0-10%": {"blocks": DENSE_TWO}, "10-100%": {"tail": 16}}),
    ),
    "of steps, with a colon": (
        p("steps: {0-10%: {blocks: {1:20: dense}}}"),
        refused(7, "steps.0-10%.blocks.1:20", "did you mean 1-20?"),
    ),
    "steps with a colon": (p("steps: {0:10%: dense}"), refused(7, "cannot read '0:10%'")),
    "settings": (
        p("blocks:\n  12: {tail: 16}\n  0-1: dense"),
        loads(blocks={12: {"tail": 16}, "0-1": "dense"}),
    ),
}

# what the shipped file has; the same preset in a user's file changes nothing
DENSE = {"type": "dense", "description": "The model's own dense attention, to compare with."}
FAMILIES = {
    "upstream's file": (
        single_file().encode(),
        Loads(DENSE, ("Wan2.1_14b", "baseline"), ("stays balanced",)),
    ),
    "a known family, without a header": (
        b"Wan2.1_14b:\n  attention_configs:\n    p: {tail: 16}\n",
        Loads({"tail": 16}, ("Wan2.1_14b", "p")),
    ),
    "our own file under another name": (
        (SHIPPED / "flux.yaml").read_bytes(),
        Loads(DENSE, ("Flux", "baseline")),
    ),
    "a known family in another case": (
        b"wan2.1_1.3b:\n  attention_configs:\n    p: {tail: 16}\n",
        refused(1, "differs from Wan2.1_1.3b by case only", "rename it to Wan2.1_1.3b"),
    ),
    "a known family, nearly right": (
        b"Wan2.2_14B:\n  attention_configs:\n    p: {tail: 16}\n",
        refused(1, "there is no family Wan2.2_14B", "rename it to Wan2.2_A14B"),
    ),
    "a known family, in another case, with a header": (
        HEAD.replace("Mine", "wan2.1_1.3b").encode() + b"      tail: 16\n",
        refused(1, "differs from Wan2.1_1.3b by case only"),
    ),
    "nearly a known family, with a header": (
        HEAD.replace("Mine", "Wan2.2_14B").encode() + b"      tail: 16\n",
        Loads({"tail": 16}, ("Wan2.2_14B", "p")),
    ),
    "a single preset": (
        b"type: psa\ntail: 16\n",
        refused(1, "this is a single preset; a file of families", "attention_configs"),
    ),
    "a preset with its name above": (
        b"p:\n  type: psa\n  tail: 16\n  warmup_steps: 4\n",
        refused(1, "p is a preset without its family"),
    ),
    "no name of a family": (
        b"attention_configs:\n  p: {tail: 16}\n",
        refused(1, "attention_configs is here without a family"),
    ),
    "presets right under the family": (
        b"Wan2.1_14b:\n  p: {tail: 16}\n",
        refused(1, "the presets of Wan2.1_14b are directly under it", "under attention_configs"),
    ),
    "a key of a family above it": (
        b"text_length: 512\n" + WHOLE,
        Loads(BOTH.values, problems=("text_length is here without a family",)),
    ),
    "keys of a family below it": (
        WHOLE + b"video_scale: {}\ntext_length: 0\n",
        Loads(BOTH.values, problems=("video_scale is here", "text_length is here")),
    ),
    "presets without a family below it": (
        WHOLE + b"attention_configs: {q: {tail: 16}}\n",
        Loads(BOTH.values, problems=("attention_configs is here without a family",)),
    ),
    "a setting above a family": (
        b"tail: 16\n" + WHOLE,
        Loads(BOTH.values, problems=("tail: found 16",)),
    ),
    "a family with the name of a key": (
        WHOLE.replace(b"Mine", b"text_length"),
        Loads(BOTH.values, ("text_length", "p")),
    ),
    "a fence": (b"```yaml\n" + WHOLE + b"```\n", BOTH),
    "a fence without a language": (b"```\n" + WHOLE + b"```", BOTH),
    "the default of a preset is not there": (
        p(SOME, HEAD.replace("attention: p", "attention: q")),
        refused(2, "found 'q'"),
    ),
}

GROUPS = {
    "line ends": LINE_ENDS, "encoding": ENCODINGS, "Chinese": CHINESE, "boolean": BOOLEANS,
    "integer": INTEGERS, "float": FLOATS, "text": TEXTS, "null": NULLS, "indent": INDENTS,
    "JSON": JSONS, "YAML": YAMLS, "blocks": BLOCKS, "family": FAMILIES,
}  # fmt: skip
VARIANTS = {
    f"{group}: {name}": variant
    for group, found in GROUPS.items() for name, variant in found.items()
}  # fmt: skip
