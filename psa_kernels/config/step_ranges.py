"""`steps`: the parts of a sampling run that have settings of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .block_overrides import DENSE, Override, nested
from .immutable import Immutable

# (start, end) in percent of the run; the start is in it, the end is not
Range = tuple[float, float]

_PERCENT = r"(\d{1,3}(?:\.\d{1,4})?)"
_RANGE = re.compile(rf"{_PERCENT}\s*%?\s*-\s*{_PERCENT}\s*%", re.ASCII)
_EXPECTED = "a range of the run in percent of its steps, like 0-10% or 60-100%"
_SHOWN = 40  # characters of an unreadable key that a message repeats

# Steps whose place follows from a float32 noise level are still in their range.
_SLACK = 1e-5


def parse_range(text: str) -> Range:
    """The range that "10-25%" names; raises ValueError that says what is expected."""
    match = _RANGE.fullmatch(text.strip())
    if not match:
        percent = f"{text.strip()}%"
        wanted = percent if _RANGE.fullmatch(percent) else _EXPECTED
        raise ValueError(f"cannot read {text[:_SHOWN]!r}; write {wanted}")
    start, end = map(float, match.groups())
    if not 0 <= start < end <= 100:
        raise ValueError(
            f"cannot use {text[:_SHOWN]!r}; it must begin before it ends, from 0 to 100%"
        )
    return start, end


def range_text(range_: Range) -> str:
    """The text that `parse_range` reads as this range."""
    return f"{range_[0]:g}-{range_[1]:g}%"


class StepRanges(Immutable, Mapping[Range, Override]):
    """Immutable, hashable mapping from a range to what it has of its own, by the start.

    The value of the path `blocks` is a `BlockOverrides`.
    """

    __slots__ = ("_entries",)

    def __init__(self, ranges: Mapping[Range, Override] | None = None):
        object.__setattr__(self, "_entries", tuple(sorted((ranges or {}).items(), key=_first)))

    def __getitem__(self, range_: Range) -> Override:
        return dict(self._entries)[range_]

    def __iter__(self) -> Iterator[Range]:
        return (range_ for range_, _ in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __hash__(self) -> int:
        return hash(self._entries)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StepRanges):
            return self._entries == other._entries
        return NotImplemented

    def __repr__(self) -> str:
        return repr(self.to_preset())

    def __reduce__(self):
        return StepRanges, (dict(self),)

    def at(self, place: float) -> Range | None:
        """The range in which a step begins; `place` (0 to 1) is the part of the run before it."""
        place = min(place, 1 - 2 * _SLACK)  # by its noise level the last step may be at the end
        for range_, _ in self._entries:
            if range_[0] / 100 - _SLACK <= place < range_[1] / 100 - _SLACK:
                return range_
        return None

    def sparse(self) -> StepRanges:
        """Those that are not dense."""
        return StepRanges({x: own for x, own in self._entries if own != DENSE})

    def to_preset(self) -> dict[str, Any]:
        """As a preset file has it, plain types only."""
        return {
            range_text(range_): own if own == DENSE else nested(own)
            for range_, own in self._entries
        }


def _first(entry: tuple[Range, Override]) -> Range:
    return entry[0]


NO_RANGES = StepRanges()
