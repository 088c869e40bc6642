"""Guesses at what someone meant by a value that a field does not take.

A guess keeps as much of the value as the field can take: text that reads as a number becomes that
number. Only a value that fits in no reading becomes something else.
"""

from __future__ import annotations

import difflib
from typing import Any

from .fields import Field
from .readings import SHOWN, plain, readings, several, squashed

_TRUE = ("true", "yes", "on", "y", "t", "enabled", "enable")
_FALSE = ("false", "no", "off", "n", "f", "disabled", "disable")
_WORDS = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
_NOTHING = {"", "none", "null", "nil", "no", "off", "false"}


def guesses(field: Field, value: Any) -> list[Any]:
    """Values that the field takes, the likeliest first; [] where nothing can be guessed."""
    text = plain(value)
    if field.kind == "bool":
        return _bool(text, readings(value))
    if field.kind == "text":
        found = _as_text(value)
        return [] if found is None else [found]
    if field.kind == "choice":
        return _choice(field, "false" if value is False else text, readings(value))
    if field.kind == "ints":
        found = _ints(field, value)
        return [found] if found else []
    if field.kind not in ("int", "float") or (field.kind == "int" and text.endswith("%")):
        return []
    within = (min(max(number, field.low), field.high) for number in readings(value))
    return list(dict.fromkeys(
        round(number) if field.kind == "int" else float(number) for number in within
    ))  # fmt: skip


def is_reading(value: Any, found: Any) -> bool:
    """Whether `value` is a number that `found` can be read as."""
    return isinstance(value, (int, float)) and value in readings(found)


def _bool(text: str, numbers: list[float]) -> list[bool]:
    if text in _WORDS:
        return [_WORDS[text]]
    if numbers:
        return [bool(numbers[0])] if numbers[0] in (0, 1) else []
    return [_WORDS[word] for word in difflib.get_close_matches(text, _WORDS, n=1, cutoff=0.6)]


def _choice(field: Field, text: str, readings: list[float]) -> list[Any]:
    numbers = [choice for choice in field.choices if isinstance(choice, int)]
    words = {
        squashed("null" if choice is None else choice): choice
        for choice in field.choices if not isinstance(choice, int)
    }  # fmt: skip
    nothing = [words[word] for word in ("null", "none") if word in words]
    if readings and numbers:
        same = [choice for number in readings for choice in numbers if choice == number]
        if not same and readings[0] <= 0 and nothing:
            return nothing
        near = sorted(numbers, key=lambda c: (abs(c - readings[0]), c != field.default))
        return [*same, *(choice for choice in near if choice not in same)]
    if text in _NOTHING and nothing:
        return nothing
    word = squashed(text)
    if word in words:
        return [words[word]]
    begun = [choice for known, choice in words.items() if len(word) > 1 and known.startswith(word)]
    if len(begun) == 1:
        return begun
    return [words[w] for w in difflib.get_close_matches(word, words, n=1, cutoff=0.6)]


def _ints(field: Field, value: Any) -> tuple[int, ...] | None:
    found = several(value)
    if len(found) != field.length:
        return None
    return tuple(round(min(max(number, field.low), field.high)) for number in found)


def _as_text(value: Any) -> str | None:
    """A scalar, or a list of them, as someone would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float, str)):
        try:
            return str(value)
        except ValueError:  # too long a number
            return None
    if isinstance(value, (list, tuple)):
        parts = [_as_text(x) for x in value[:SHOWN] if not isinstance(x, (list, tuple))]
        return ", ".join(parts) if len(parts) == len(value) and None not in parts else None
    return None
