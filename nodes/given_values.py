"""A widget's value as scripts write it in JSON, and as the widget holds it.

The page sends what its widgets hold. A script may send null for what it leaves open, 64 for the
choice "64", or "false" for a switch. One reading of these for the queue and for the routes.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

LEFT_OUT = object()

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def read(widget: io.Input, value: Any) -> Any:
    """The value that the widget holds, `LEFT_OUT` for null; what it cannot hold comes back as it
    is, to be refused by whoever checks it."""
    if value is None:
        return LEFT_OUT
    if not isinstance(value, bool | int | float | str):
        return value
    if isinstance(widget, io.Boolean.Input):
        return _switch(value)
    if isinstance(value, bool):
        return value
    try:
        if isinstance(widget, io.Combo.Input):
            return value if isinstance(value, str) else _whole_text(value)
        if isinstance(widget, io.String.Input):
            return str(value)
        if isinstance(value, str) and isinstance(widget, io.Int.Input | io.Float.Input):
            return int(value) if isinstance(widget, io.Int.Input) else float(value)
    except (ValueError, OverflowError):
        pass
    return value


def fits(widget: io.Input, value: Any) -> bool:
    """Whether ComfyUI takes this value of a queued widget; a link's is not known yet."""
    if isinstance(value, list):
        return True
    if isinstance(widget, io.Combo.Input):
        return value in widget.options
    if not isinstance(widget, io.Int.Input | io.Float.Input):
        return True
    try:
        number = int(value) if isinstance(widget, io.Int.Input) else float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return widget.min <= number <= widget.max


def _switch(value: bool | float | str) -> Any:
    if isinstance(value, str):
        return _WORDS.get(value.strip()[:10].lower(), value)
    return bool(value) if value in (0, 1) else value


def _whole_text(value: float) -> str:
    """64 and 64.0 are the choice "64"."""
    return str(int(value)) if value == int(value) else str(value)
