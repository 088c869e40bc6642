"""From a preset's nested keys to arguments, and what to say of keys that no preset has."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from .fields import FIELD_BY_ARGUMENT, FIELD_BY_PATH, FIELDS
from .issues import MOST, Issue, shown

_TOP_KEYS = {field.path.partition(".")[0] for field in FIELDS}
_SECTIONS = {field.path.split(".")[0] for field in FIELDS if "." in field.path}


def key_text(key: Any) -> str:
    """A mapping's key as paths have it."""
    return key if isinstance(key, str) else shown(key)


def by_argument(mapping: Mapping[Any, Any]) -> tuple[dict[str, Any], set[str], list[Issue]]:
    """(values by argument, arguments given in a form that cannot be read, issues)"""
    values: dict[str, Any] = {}
    issues: list[Issue] = []
    unreadable: set[str] = set()
    for key, value in mapping.items():
        if len(issues) > MOST:
            break
        if key in _SECTIONS:
            inside = [field for field in FIELDS if field.path.startswith(f"{key}.")]
            if not isinstance(value, Mapping):
                names = ", ".join(field.path.split(".")[1] for field in inside)
                issues.append(Issue(key, key, shown(value), f"a mapping with {names}"))
                unreadable.update(field.argument for field in inside)
                continue
            for inner, inner_value in value.items():
                if len(issues) > MOST:
                    break
                path = f"{key}.{key_text(inner)}"
                if path in FIELD_BY_PATH:
                    values[FIELD_BY_PATH[path].argument] = inner_value
                else:
                    issues.append(unknown_key(path))
        elif key in FIELD_BY_PATH and "." not in key:
            values[FIELD_BY_PATH[key].argument] = value
        elif key != "<<" and isinstance(value, Mapping) and not _TOP_KEYS.isdisjoint(value):
            allowed = "leave out this line, and write the settings below it without indentation"
            issues.append(Issue(key_text(key), key_text(key), "a name above a preset", allowed))
        else:
            issues.append(unknown_key(key_text(key)))
    return values, unreadable, issues


def unknown_key(name: str) -> Issue:
    """The issue of an unknown key or argument."""
    if name in FIELD_BY_PATH:  # a key with a dot in it, where the format has a mapping in a mapping
        section, _, key = name.partition(".")
        return Issue(name, name, "a key with a dot", f"write {key} inside the mapping {section}")
    known = {**{p: p for p in FIELD_BY_PATH}, **{a: f.path for a, f in FIELD_BY_ARGUMENT.items()}}
    # `n` alone, or `block_size.block_n`, should still find `block_size.n`.
    known |= {path.split(".")[-1]: path for path in FIELD_BY_PATH if "." in path}
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    near = near or difflib.get_close_matches(name.split(".")[-1], known, n=1, cutoff=0.6)
    if not near:
        return Issue(name, name, "an unknown key", "known keys: " + ", ".join(FIELD_BY_PATH))
    return Issue(name, name, "an unknown key", f"did you mean {known[near[0]]}?")
