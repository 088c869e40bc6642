"""Which settings are worth compiling, beginning with those of this GPU's row of the table.

Compiling a variant takes seconds, and timing it a fraction of a second. So tile shapes come first,
at the row's pipeline depths, then other depths for the fastest shapes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..triton.settings import Attend, Estimate

# most registers a thread, by warps, with which more programs fit on a multiprocessor
LIMITS = {4: 168, 8: 128}
MOST_FLOATS = 192  # of sums and logits a thread: from here on registers always spill
DEPTHS = range(1, 5)


@dataclass(frozen=True)
class Variant:
    """Settings of one kernel. Of the attention: `qk`, what queries and keys are multiplied in, and
    `sums`, what values are summed in."""

    settings: Attend | Estimate
    qk: str = "half"
    sums: str = "float32"

    @property
    def kernel(self) -> str:
        if isinstance(self.settings, Estimate):
            return "importance"
        name = "attention" if self.qk == "half" else f"attention on {self.qk}"
        return name if self.sums == "float32" else f"{name}, {self.sums} sums"

    @property
    def specialised(self) -> bool:
        return isinstance(self.settings, Attend) and self.settings.specialised

    @property
    def precise(self) -> Variant:
        """The same without faster products or sums."""
        return replace(self, qk="half", sums="float32")

    def __str__(self) -> str:
        return str(self.settings)


def shapes(row: Variant, width: int, tma: bool, limits: bool) -> list[Variant]:
    """Other tiles, warps and limits on registers than the row's, the likeliest first.

    tma, limits: whether there are descriptors, and limits on registers.
    """
    if row.specialised:
        return []  # it has one shape
    if isinstance(row.settings, Attend):
        of_kernel = _attend_shapes(row.settings, width, limits)
    else:
        of_kernel = _estimate_shapes(row.settings, width)
    found = [replace(row, settings=x) for x in of_kernel]
    if tma:
        other = replace(row.settings, tma=not row.settings.tma)
        found.insert(0, replace(row, settings=other))
    return found


def depths(best: Variant) -> list[Variant]:
    """One pipeline a step deeper or shallower."""
    found = []
    for name in _pipelines(best.settings):
        now = getattr(best.settings, name)
        # the table's specialised ones are as deep as shared memory, 232,448 bytes, allows: one more
        # asks for 250,080 in half precision and 233,696 in int8
        deeper = () if best.specialised else (now + 1,)
        for depth in (*deeper, now - 1):
            if depth in DEPTHS:
                found.append(replace(best, settings=_with_depth(best.settings, name, depth)))
    return found


def joined(best: Variant, ones: Sequence[Variant]) -> list[Variant]:
    """`best` with the depths of all of `ones`, each of which differs from it in one."""
    settings = best.settings
    for name in _pipelines(settings):
        for one in ones:
            depth = getattr(one.settings, name)
            if depth != getattr(best.settings, name):
                settings = _with_depth(settings, name, depth)
    return [replace(best, settings=settings)] if len(ones) > 1 else []


def _attend_shapes(row: Attend, width: int, limits: bool) -> list[Attend]:
    found = []
    for rows, tile, warps in itertools.product((128, 64), (128, 64, 32), (8, 4)):
        if rows * (width + tile) / (32 * warps) >= MOST_FLOATS:
            continue
        settings = row
        if (rows, tile, warps) != (row.rows, row.tile, row.warps):
            settings = replace(
                row, rows=rows, tile=tile, warps=warps, tail_stages=row.spread_stages
            )
        if rows * tile > row.rows * row.tile:  # the row's depths may be too deep for it
            shallow = {name: min(getattr(row, name), 2) for name in _pipelines(row)}
            settings = replace(settings, **shallow, tail_stages=shallow["spread_stages"])
        for registers in (0, LIMITS[warps]) if limits else (0,):
            found.append(replace(settings, registers=registers))
    near = (row.rows, row.tile, row.warps)
    return sorted(
        (x for x in found if x != row),
        key=lambda x: _steps((x.rows, x.tile, x.warps), near) + (x.registers != row.registers),
    )


def _estimate_shapes(row: Estimate, width: int) -> list[Estimate]:
    found = []
    for means, groups, warps in itertools.product((64, 128), (64, 128, 32), (4, 8)):
        if (means, groups, warps) == (row.means, row.groups, row.warps):
            continue
        if means * groups / (32 * warps) >= MOST_FLOATS:
            continue
        found.append(replace(row, means=means, groups=groups, warps=warps))
    near = (row.means, row.groups, row.warps)
    return sorted(found, key=lambda x: _steps((x.means, x.groups, x.warps), near))


def _steps(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many doublings two shapes are apart."""
    return sum(abs(a.bit_length() - b.bit_length()) for a, b in zip(one, other, strict=True))


def _pipelines(settings: Attend | Estimate) -> tuple[str, ...]:
    if isinstance(settings, Estimate):
        return ("stages",)
    if settings.specialised:
        return ("full_stages",)
    return "full_stages", "list_stages", "spread_stages"


def _with_depth(settings: Attend | Estimate, name: str, depth: int) -> Attend | Estimate:
    """The tail's loop without the second moment is not timed: what fits with it fits there."""
    changes = {name: depth}
    if name == "spread_stages":
        changes["tail_stages"] = max(depth, settings.tail_stages)
    return replace(settings, **changes)
