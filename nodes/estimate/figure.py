"""A figure and where it is from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """value     None with a `reason`
    kind      "extrapolated" (from measured calls), "arithmetic" (counted, no time in it) or
              "dense"; None without a value
    note      what it rests on
    measured  the measurement behind it: gpu, versions, date, against
    """

    value: float | None
    kind: str | None = None
    reason: str | None = None
    note: str | None = None
    measured: Mapping[str, Any] | None = None

    def noted(self, note: str) -> Figure:
        """The same with a note more."""
        if self.value is None or self.kind == "dense":
            return self
        return dataclasses.replace(self, note="; ".join(filter(None, (self.note, note))))


EVEN = 1.05  # a speed-up is shown with two digits, and nobody feels less


def verdict(speedup: Figure) -> str | None:
    """ "faster", "even" or "slower"; None for what is not known or dense."""
    if speedup.value is None or speedup.kind == "dense":
        return None
    if speedup.value >= EVEN:
        return "faster"
    return "slower" if speedup.value * EVEN <= 1 else "even"
