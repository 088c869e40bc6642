"""Node inputs for older versions of ComfyUI, whose API lacks some keywords."""

from __future__ import annotations

import inspect
from typing import Any


def declare(kind: Any, *args: Any, **kwargs: Any) -> Any:
    """`kind(*args, **kwargs)` without the keywords that this ComfyUI's `kind` does not have."""
    known = inspect.signature(kind).parameters
    return kind(*args, **{name: value for name, value in kwargs.items() if name in known})
