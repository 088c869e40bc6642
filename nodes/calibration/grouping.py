"""Whether like keys are put together: one choice for a whole preset, by the calls measured.

The ladder is measured with like keys together, and beside it the base in token order; like keys
together, where they pay at all, pay at every budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...psa_kernels.config import PSAConfig
from .allocate import interpolated
from .ladder import sparse_parts
from .measure import Call

ORDER, SIMILAR = "order", "similar"
# The part of the error that must go: without any like keys, in a model that is not trained, chance
# makes a hundredth of it; a trained one at thousands of tokens has a fifth and more.
MARGIN = 0.02


@dataclass(frozen=True)
class Compared:
    """chosen          the grouping that the result has
    order, similar  with each, at the density of the base in token order: the attention's error
                    relative to its output, root mean square over the calls; None if no number
    """

    chosen: str
    order: float | None
    similar: float | None


def is_open(base: PSAConfig) -> bool:
    """Whether a grouping is to be chosen: a base that has like keys together keeps them."""
    # where all blocks are in full nothing is pooled, and both are the same
    pooled = any(part.mask_ratios.width(1) < 1 for part in sparse_parts(base))
    return base.grouping == ORDER and pooled


def compare(calls: Sequence[Call], scales: Sequence[float]) -> Compared:
    """By calls that were measured with like keys together and, as the base, in token order.

    A call whose output or error in token order is no number says nothing and is left out.
    """
    told = [call for call in calls if call.norm > 0 and math.isfinite(call.in_order[1] / call.norm)]
    if not told:
        return Compared(ORDER, None, None)
    density = _mean(call.in_order[0] for call in told)
    order = _mean(call.in_order[1] / call.norm for call in told)
    curve = [
        (_mean(density for density, _ in rung), _mean(
            error / call.norm for call, (_, error) in zip(told, rung, strict=True)
        ))
        for rung in zip(*(call.rungs for call in told), strict=True)
    ]  # fmt: skip
    # of thresholds the same budget may be another density
    similar = interpolated(curve, density)
    if similar is None:
        similar = curve[list(scales).index(1.0)][1]
    pays = similar < (1 - MARGIN) ** 2 * order
    return Compared(SIMILAR if pays else ORDER, _root(order), _root(similar))


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def _root(value: float) -> float | None:
    return math.sqrt(value) if math.isfinite(value) else None
