"""A figure and where it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """value     None with a `reason`
    kind      "measured" (this very thing was), "extrapolated" (from measured ones), "arithmetic"
              (counted, no time in it) or "dense"; None without a value
    note      what it rests on
    measured  the measurement behind it: gpu, versions, date, against, source
    """

    value: float | None
    kind: str | None = None
    reason: str | None = None
    note: str | None = None
    measured: Mapping[str, Any] | None = None
