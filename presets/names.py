"""Which names families and presets may have. Names are untrusted and become file names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from .ground import OddNumber

MAX_LENGTH = 64
DEFAULT = "default"  # stands for a family's default preset wherever a preset is asked for

RULE = "a name is made of the letters a-z and A-Z, digits, '.', '_', '-' and spaces"
_ALPHABET = re.compile(r"[A-Za-z0-9._\- ]+", re.ASCII)
# Windows opens the device whatever follows the first dot.
_PORTS = {f"{port}{number}" for port in ("COM", "LPT") for number in range(10)}
_DEVICES = {"CON", "PRN", "AUX", "NUL"} | _PORTS


def name_breach(name: Any, *, of_preset: bool = False) -> str | None:
    """What is wrong with a name, in words, or None."""
    if not isinstance(name, str) or isinstance(name, OddNumber):
        return f"a name is text, not {name!r}; put it in quotes"
    if not name:
        return "a name is not empty"
    if len(name) > MAX_LENGTH:
        return f"a name has at most {MAX_LENGTH} characters, not {len(name)}"
    if not _ALPHABET.fullmatch(name):
        return RULE
    if name[0] in ". " or name[-1] in ". ":
        return "a name neither starts nor ends with a dot or a space"
    if name.split(".")[0].rstrip().upper() in _DEVICES:
        return "this name is reserved by Windows"
    if of_preset and name.lower() == DEFAULT:
        return f"{DEFAULT!r} stands for a family's default preset and cannot name one"
    return None


def same_but_for_case(name: str, others: Iterable[str]) -> str | None:
    """One of `others` that a case-insensitive file system would not tell from `name`."""
    return next((x for x in others if x != name and x.lower() == name.lower()), None)


def nearest(name: str, known: Iterable[str]) -> str | None:
    by_lower = {x.lower(): x for x in known}
    near = difflib.get_close_matches(str(name)[:MAX_LENGTH].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None
