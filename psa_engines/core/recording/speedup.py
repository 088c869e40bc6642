"""How much faster the sparse calls of a run were than its dense ones of the same shape."""

from __future__ import annotations

import statistics

from .records import CallShape, ShapeTimes


def speedup_of(shapes: dict[CallShape, ShapeTimes]) -> float | None:
    """Dense time over sparse time of the sparse calls; a shape's dense calls by their median.

    Sparse calls by their sum: blocks may have budgets of their own.
    """
    dense = sparse = 0.0
    for times in shapes.values():
        if times.psa and times.dense:
            dense += len(times.psa) * statistics.median(times.dense)
            sparse += sum(times.psa)
    return dense / sparse if sparse > 0 else None
