"""What someone probably meant by a value that a field does not take."""

from __future__ import annotations

import difflib
import math
from typing import Any

from .fields import Field

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def meant(field: Field, value: Any) -> list[Any]:
    """At most one value, which the field takes; [] where nothing can be guessed."""
    text = value.strip()[:40].lower() if isinstance(value, str) else "null" if value is None else ""
    number = _number(value)
    if field.kind == "bool":
        if text in _WORDS:
            return [_WORDS[text]]
        return [bool(number)] if number in (0, 1) else []
    if field.kind == "choice":
        return _choice(field, text, number)
    if field.kind not in ("int", "float") or number is None:
        return []
    number = min(max(number, field.low), field.high)
    return [round(number) if field.kind == "int" else float(number)]


def _choice(field: Field, text: str, number: float | None) -> list[Any]:
    numbers = [choice for choice in field.choices if isinstance(choice, int)]
    if number is not None and numbers:
        return [min(numbers, key=lambda c: (abs(c - number), c != field.default))]
    by_text = {
        ("null" if choice is None else choice).lower(): choice
        for choice in field.choices if not isinstance(choice, int)
    }  # fmt: skip
    if None in field.choices:
        by_text["none"] = None
    return [by_text[word] for word in difflib.get_close_matches(text, by_text, n=1, cutoff=0.6)]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
