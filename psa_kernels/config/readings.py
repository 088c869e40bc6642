"""The numbers that a value can be read as, however it is written."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from .odd_number import OddNumber

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?"
_WITH_UNIT = re.compile(rf"([-+]?{_NUMBER})\s*(%|[a-z]*)", re.ASCII)
_OTHER_BASE = re.compile("[-+]?0[xob]")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+", re.ASCII)
_COMMA = re.compile(r"[-+]?\d*,\d+", re.ASCII)
_SEVERAL = re.compile(
    rf"[\[(]?\s*{_NUMBER}%?(?:[\s,;x*-]+(?:to\s+)?{_NUMBER}%?)*\s*[\])]?", re.ASCII
)
SHOWN = 80  # characters of a text that is worth a reading


def readings(value: Any) -> list[float]:
    """The numbers that a value can be read as, the likeliest first."""
    if isinstance(value, OddNumber):
        return value.readings
    if isinstance(value, str):
        number = _number(plain(value))
        return [] if number is None else [number]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return []
    try:
        return [] if math.isnan(float(value)) else [value]
    except OverflowError:
        return []


def several(value: Any) -> list[float]:
    """The numbers of a list, each as it can be read, or of a text like "0.1 - 0.4" or "2x8x8"."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, (list, tuple)):
        found = [readings(x) for x in value[:SHOWN]]
        return [numbers[0] for numbers in found] if all(found) else []
    text = plain(value)
    if not isinstance(value, str) or not _SEVERAL.fullmatch(text):
        return []
    parts = re.findall(rf"{_NUMBER}%?", text, re.ASCII)
    return [number for part in parts for number in readings(part)]


def plain(value: Any) -> str:
    """A text in small letters, with plain digits and signs and without quotes around it."""
    if value is None:
        return "null"
    if not isinstance(value, str):
        return ""
    text = unicodedata.normalize("NFKC", value[:SHOWN]).lower()
    return text.strip(" \t\r\n'\"`\u2018\u2019\u201c\u201d;,")


def squashed(text: str) -> str:
    return re.sub(r"[\s_-]", "", text.lower())


def _number(text: str) -> float | None:
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    elif _COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        if _OTHER_BASE.match(text):
            return int(text, 0)
        found = _WITH_UNIT.fullmatch(text)
        if found:
            number = float(found[1])
            return number / 100 if found[2] == "%" else number
        number = float(text)  # inf, and what has underscores
    except ValueError:
        return None
    return None if math.isnan(number) else number
