"""Reading what a request says: its fields one by one, none unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import Refusal

REQUIRED = object()


class Body:
    """A JSON object whose fields are taken out by name and type; `done` refuses what is left."""

    def __init__(self, content: Mapping[str, Any], what: str = "the body"):
        self._left = dict(content)
        self._what = what

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, kind: type, default: Any = REQUIRED) -> Any:
        """A field of this JSON type; null is the default, unless the field is required."""
        value = self._left.pop(name, None if default is not REQUIRED else REQUIRED)
        if value is REQUIRED:
            raise bad_request(f"{name}: is missing")
        if value is None and default is not REQUIRED:
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError:
                raise bad_request(f"{name}: the number is too large") from None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise bad_request(f"{name}: {_NAMES[kind]} is expected")
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
            raise bad_request(f"{name}: found {value:.20g}; allowed: from {low:g} to {high:g}"
                              if kind is float else
                              f"{name}: allowed: a whole number from {low:g} to {high:g}")
        return value

    def choice(self, name: str, choices: Any, default: Any = REQUIRED) -> str:
        value = self.take(name, str, default)
        if value not in choices:
            shown = value if len(value) <= 60 else value[:57] + "..."
            raise bad_request(f"{name}: found {shown!r}; allowed: " + ", ".join(choices))
        return value

    def done(self) -> None:
        if self._left:
            names = ", ".join(repr(name[:60]) for name in list(self._left)[:5])
            raise bad_request(f"{self._what} has unknown fields: {names}")


_NAMES = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false",
    dict: "an object", list: "a list",
}  # fmt: skip


def bad_request(message: str) -> Refusal:
    return Refusal(400, "bad_request", message)
