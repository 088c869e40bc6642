"""`mask_ratios`: which share of the key blocks, by importance, goes to which pyramid level.

Normative order of the levels is 1, 2, 4, 8, 0: full resolution first, skipped last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

from .immutable import Immutable
from .issues import Issue, Mend, shown
from .odd_number import advice
from .readings import readings, several

LEVELS = (1, 2, 4, 8, 0)

# Bounds typed by hand or summed in floating point are equal within this distance.
TOLERANCE = 1e-9
WRONG = object()


class MaskRatios(Immutable, Mapping[int, tuple[float, float]]):
    """Immutable, hashable mapping level -> (lower, upper bound), in the order 1, 2, 4, 8, 0."""

    __slots__ = ("_items",)

    def __init__(self, ratios: Mapping[int, tuple[float, float]]):
        items = tuple((level, tuple(ratios[level])) for level in LEVELS if level in ratios)
        object.__setattr__(self, "_items", items)

    def __getitem__(self, level: int) -> tuple[float, float]:
        for own, bounds in self._items:
            if own == level:
                return bounds
        raise KeyError(level)

    def __iter__(self) -> Iterator[int]:
        return (level for level, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(self._items)

    def __eq__(self, other: object) -> bool:
        return dict(self) == dict(other) if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return repr(dict(self._items))

    def __reduce__(self):
        return MaskRatios, (dict(self._items),)

    def uppers(self) -> tuple[tuple[int, float], ...]:
        """(level, upper bound) in reading order; the last bound is 1."""
        # given within a tolerance of 1, it would leave the last of many blocks without a level
        last = len(self._items) - 1
        return tuple(
            (level, 1.0 if i == last else bounds[1])
            for i, (level, bounds) in enumerate(self._items)
        )

    def quotas(self, blocks: int) -> dict[int, int]:
        """Level -> how many of `blocks` ranked blocks it gets in mode topk, in reading order.

        A level ends at rank floor(upper * N + 1e-6); level 1 gets a block if its interval is not
        empty (section 6).
        """
        found, begin = {}, 0
        for level, upper in self.uppers():
            end = math.floor(upper * blocks + 1e-6)
            if level == 1 and self.width(1) > 0:
                end = max(end, min(1, blocks))
            found[level] = max(0, end - begin)
            begin = max(begin, end)
        return found

    def width(self, level: int) -> float:
        for own, (lower, upper) in self._items:
            if own == level:
                return upper - lower
        return 0.0


def is_number(value: Any) -> bool:
    """A real, finite number; a bool is not one."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of a float
        return False


def within(number: Any, low: float, high: float) -> Any:
    """A number as a float from `low` to `high`, or `WRONG`; noise beyond them is cut off."""
    if not low - TOLERANCE <= number <= high + TOLERANCE:
        return WRONG
    return min(max(float(number), float(low)), float(high))


def check_mask_ratios(value: Any) -> tuple[MaskRatios | None, list[Issue]]:
    """Every breach of section 6 in `value`, and the ratios if there is none."""
    if not isinstance(value, Mapping):
        allowed = "a mapping from the levels 1, 2, 4, 8, 0 to pairs like [0.0, 0.1]"
        return None, [Issue("mask_ratios", "mask_ratios", shown(value), allowed)]

    issues: list[Issue] = []
    ratios: dict[int, tuple[float, float] | None] = {}
    given: dict[int, Any] = {}
    for key, pair in value.items():
        level = _level(key)
        if level is None:
            issues.append(_issue(key, shown(key), "a level is one of 1, 2, 4, 8 and 0"))
        elif level in ratios:
            issues.append(_issue(key, "the level twice", "each level appears once"))
        else:
            ratios[level], given[level] = _pair(pair), pair

    for level, bounds in ratios.items():
        if bounds is None:
            wanted = "a pair [from, to] of numbers with 0 <= from <= to <= 1"
            wanted += advice(given[level])
            mended = _with_the_rest(level, _fitting(level, ratios, given[level]), ratios)
            issues.append(_issue(level, shown(given[level]), wanted, mended))
    if not ratios and not issues:
        issues.append(
            Issue("mask_ratios", "mask_ratios", "no level", "at least one level must be given")
        )
    issues.extend(_joints(ratios))
    if issues:
        return None, issues
    return MaskRatios(ratios), []


def _level(key: Any) -> int | None:
    # JSON can only carry string keys, so "4" is read as 4.
    if isinstance(key, str) and key in {"0", "1", "2", "4", "8"}:
        return int(key)
    if isinstance(key, int) and not isinstance(key, bool) and key in LEVELS:
        return key
    return None


def _pair(pair: Any) -> tuple[float, float] | None:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(map(is_number, pair)):
        return None
    lower, upper = (within(x, 0.0, 1.0) for x in pair)
    if lower is WRONG or upper is WRONG or lower > upper + TOLERANCE:
        return None
    return lower, max(lower, upper)


def _reading(pair: Any) -> tuple[float | None, float] | None:
    """(from, to) that a malformed pair can be read as; a single number is where the level ends."""
    found = several(pair)
    if not found and (one := readings(pair)):
        found = one[:1]
    if len(found) not in (1, 2):
        return None
    if max(found) >= 2:  # of a hundred
        found = [x / 100 for x in found]
    found = sorted(min(max(float(x), 0.0), 1.0) for x in found)
    return (None, found[0]) if len(found) == 1 else (found[0], found[1])


def _fitting(
    level: int, ratios: Mapping[int, tuple[float, float] | None], pair: Any
) -> list[float]:
    """The pair that would join the nearest well-formed levels on both sides of `level`; it ends
    where the malformed one says, if it can be read at all, and begins there if that is open."""
    order = [x for x in LEVELS if ratios.get(x) or x == level]
    place = order.index(level)
    lower = ratios[order[place - 1]][1] if place > 0 else 0.0
    upper = ratios[order[place + 1]][0] if place + 1 < len(order) else 1.0
    read = _reading(pair)
    given = [x for x in LEVELS if x in ratios]
    before = given[: given.index(level)]
    if read is not None and before and ratios[before[-1]] is None and read[0] is not None:
        lower = read[0]  # what it should join is unknown
    if read is not None and level != given[-1]:
        upper = read[1]
    return [lower, max(lower, upper)]


def _joints(ratios: Mapping[int, tuple[float, float] | None]) -> list[Issue]:
    """Gaps and overlaps between neighbours, and the two ends."""
    issues = []
    before: int | None = None
    order = [level for level in LEVELS if level in ratios]
    for level in order:
        bounds = ratios[level]
        expected, start = 0.0, "the first level starts at 0"
        if before is not None:
            left = ratios[before]
            # A malformed neighbour is reported by itself; what it should join is unknown.
            expected = left[1] if left else None
            start = f"it starts where level {before} ends, at {expected}"
        before = level
        if bounds is None:
            continue
        joined = expected is None or abs(bounds[0] - expected) <= TOLERANCE
        expected = bounds[0] if expected is None else expected
        mended = _with_the_rest(level, [expected, max(expected, bounds[1])], ratios)
        if not joined:
            issues.append(_issue(level, _show(bounds), start, mended))
        if level == order[-1] and abs(bounds[1] - 1.0) > TOLERANCE:
            allowed = f"the last level ends at 1 (levels are read in the order {_list(order)})"
            issues.append(_issue(level, _show(bounds), allowed, {level: [mended[level][0], 1.0]}))
    return issues


def _with_the_rest(
    level: int, pair: list[float], ratios: Mapping[int, tuple[float, float] | None]
) -> dict[int, list[float]]:
    """`pair` for `level`, and for the levels after it that its new end reaches into."""
    changes = {level: pair}
    before = ratios[level]
    order = [x for x in LEVELS if x in ratios]
    for follower in order[order.index(level) + 1 :]:
        bounds = ratios[follower]
        moved = before is None or before[1] < pair[1]
        if not moved or bounds is None or _joins(bounds[0], pair[1], apart=before is not None):
            break
        before, pair = bounds, [pair[1], max(pair[1], bounds[1])]
        changes[follower] = pair
    return changes


def _joins(lower: float, end: float, *, apart: bool) -> bool:
    """Whether a level that starts at `lower` may follow one that ends there; `apart`: or before."""
    return lower >= end - TOLERANCE if apart else abs(lower - end) <= TOLERANCE


def _issue(
    level: Any, found: str, allowed: str, mended: Mapping[int, list[float]] | None = None
) -> Issue:
    path = f"mask_ratios.{level if isinstance(level, str) else shown(level)}"
    mends = ()
    if mended is not None:
        changes = {f"mask_ratios.{x}": list(pair) for x, pair in mended.items()}
        label = " and ".join(f"{place} to {_show(pair)}" for place, pair in changes.items())
        mends = (Mend(f"set {label}", changes),)
    return Issue(path, path, found, allowed, mends)


def _show(pair) -> str:
    return "[" + ", ".join(f"{x:.10g}" for x in pair) + "]"


def _list(levels: list[int]) -> str:
    return ", ".join(str(level) for level in levels)
