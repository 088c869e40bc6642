"""ComfyUI's node API grew keyword by keyword; older versions get what they know."""

from __future__ import annotations

import inspect
from typing import Any


def declare(kind: Any, *args: Any, **kwargs: Any) -> Any:
    """`kind(*args, **kwargs)` without the keywords that this ComfyUI's `kind` does not have."""
    known = inspect.signature(kind).parameters
    return kind(*args, **{name: value for name, value in kwargs.items() if name in known})
