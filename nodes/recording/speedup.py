"""How much faster the sparse calls of a run were than its dense ones of the same shape."""

from __future__ import annotations

import statistics

from .records import CallShape, ShapeTimes


def speedup_of(shapes: dict[CallShape, ShapeTimes]) -> float | None:
    """Dense time over sparse time of the sparse calls, from the medians of each shape."""
    dense = sparse = 0.0
    for times in shapes.values():
        if times.psa and times.dense:
            dense += len(times.psa) * statistics.median(times.dense)
            sparse += len(times.psa) * statistics.median(times.psa)
    return dense / sparse if sparse > 0 else None
