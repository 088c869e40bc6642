"""Reading what a request says: its fields one by one, none unknown."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import Refusal

REQUIRED = object()


class Body:
    """A JSON object whose fields are taken out by name and type; `done` refuses what is left.

    what: the field that holds it, of one inside another
    """

    def __init__(self, content: Mapping[str, Any], what: str = ""):
        self._left = dict(content)
        self._what = what

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, kind: type, default: Any = REQUIRED) -> Any:
        """A field of this JSON type; null is the default, unless the field is required."""
        value = self._left.pop(name, None if default is not REQUIRED else REQUIRED)
        if value is REQUIRED:
            raise bad_request(f"{self.path(name)}: is missing; give {_NAMES[kind]}")
        if value is None and default is not REQUIRED:
            return default
        found = value
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError:
                raise bad_request(f"{self.path(name)}: the number is too large") from None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(name, found, f"{_NAMES[kind]} is expected")
        return value

    def text(self, name: str, default: Any = REQUIRED) -> Any:
        """Text, as a widget holds it: a whole number may stand for it."""
        value = self._left.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            self._left[name] = str(value)
        return self.take(name, str, default)

    def number(
        self, name: str, kind: type, low: float, high: float, default: Any = REQUIRED
    ) -> Any:
        """A number from `low` to `high`."""
        value = self.take(name, kind, default)
        if value is not None and not low <= value <= high:
            what = "a whole number from" if kind is int else "from"
            raise self.wrong(name, value, f"allowed: {what} {low:.10g} to {high:.10g}")
        return value

    def choice(self, name: str, choices: Any, default: Any = REQUIRED) -> str:
        value = self.take(name, str, default)
        if value not in choices:
            raise self.wrong(name, value, "allowed: " + ", ".join(choices))
        return value

    def done(self) -> None:
        if self._left:
            names = ", ".join(repr(name[:60]) for name in list(self._left)[:5])
            raise bad_request(f"{self._what or 'the body'} has unknown fields: {names}")

    def path(self, name: str) -> str:
        return f"{self._what}.{name}" if self._what else name

    def wrong(self, name: str, found: Any, allowed: str) -> Refusal:
        """What is raised for a field with a value that is not allowed."""
        return bad_request(f"{self.path(name)}: found {as_json(found)}; {allowed}")


_NAMES = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false",
    dict: "an object", list: "a list",
}  # fmt: skip
_SHOWN = 60  # characters of a value that a message repeats


def as_json(value: Any) -> str:
    """A value of a request as it was written there, kept short."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def bad_request(message: str) -> Refusal:
    return Refusal(400, "bad_request", message)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean ...?" of an unknown name, if one of the known ones is near; else ""."""
    near = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
