"""Means over clips and paired differences, with their spread."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """`half` is half the width of the 95% confidence interval of the mean (Student's t).

    With one value the spread is unknown: `std` and `half` are None.
    """

    count: int
    mean: float
    std: float | None
    half: float | None


def spread(values: Sequence[float]) -> Spread:
    count, mean = len(values), statistics.fmean(values)
    if count < 2:
        return Spread(count, mean, None, None)
    std = statistics.stdev(values)
    return Spread(count, mean, std, _quantile(count - 1) * std / math.sqrt(count))


@functools.cache
def _quantile(freedom: int) -> float:
    """Of Student's t, for `CONFIDENCE` on both sides."""
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


def paired(values: dict, base: dict) -> Spread | None:
    """Spread of `values - base` over the keys (clips) of both; None where there are none."""
    common = [key for key in values if key in base]
    return spread([values[key] - base[key] for key in common]) if common else None
