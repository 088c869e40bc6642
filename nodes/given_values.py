"""A widget's value as scripts write it in JSON, and as the widget holds it.

The page sends what its widgets hold. A script may send null for a value that it leaves open, 64 for
the choice "64", or "false" for a switch. The queue and the routes both read values with this
module.
"""

from __future__ import annotations

import math
from typing import Any

from comfy_api.latest import io

from ..psa_kernels.config.issues import shown

LEFT_OUT = object()

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def read(widget: io.Input, value: Any) -> Any:
    """The value that the widget holds, `LEFT_OUT` for null. A value that it cannot hold is returned
    unchanged, for whoever checks it to refuse."""
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
    """Whether ComfyUI accepts this value for the widget."""
    if not isinstance(widget, io.Int.Input | io.Float.Input):
        return _of_its_kind(widget, value)
    return _of_its_kind(widget, value) and widget.min <= value <= widget.max


def held(widget: io.Input, value: Any) -> Any:
    """The widget's value for what came by a link; its default for null.

    Raises `ValueError` that names the input if the widget cannot hold the value. A number out of
    range passes, as it does in ComfyUI.
    """
    value = read(widget, value)
    if value is LEFT_OUT:
        return widget.default
    if _of_its_kind(widget, value):
        return value
    if isinstance(widget, io.Combo.Input):
        allowed = ", ".join(widget.options)
    elif isinstance(widget, io.Boolean.Input):
        allowed = "true or false"
    else:
        allowed = f"a number from {widget.min:g} to {widget.max:.10g}"
    raise ValueError(f"{widget.id}: found {shown(value)}; allowed: {allowed}")


def _of_its_kind(widget: io.Input, value: Any) -> bool:
    if isinstance(widget, io.Combo.Input):
        return value in widget.options
    if isinstance(widget, io.Boolean.Input):
        return isinstance(value, bool)
    if isinstance(widget, io.Int.Input | io.Float.Input):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)
    return True


def _switch(value: bool | float | str) -> Any:
    if isinstance(value, str):
        return _WORDS.get(value.strip()[:10].lower(), value)
    return bool(value) if value in (0, 1) else value


def _whole_text(value: float) -> str:
    """The choice "64" for both 64 and 64.0."""
    return str(int(value)) if value == int(value) else str(value)
