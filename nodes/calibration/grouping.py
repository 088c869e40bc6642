"""Whether like keys are put together: one choice for a whole preset, made from the measured calls.

The ladder is measured with like keys together, and the base also in token order. If like keys
together gain anything, they gain at every budget.
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
# How much smaller the error must be. In an untrained model, which has no like keys, chance makes it
# 1% smaller; in a trained one with thousands of tokens it is 20% and more.
MARGIN = 0.02


@dataclass(frozen=True)
class Compared:
    """chosen          the grouping of the result
    order, similar  the attention's error with each, at the density of the base in token order:
                    relative to its output, root mean square over the calls; None if not finite
    """

    chosen: str
    order: float | None
    similar: float | None


def is_open(base: PSAConfig) -> bool:
    """Whether the grouping is to be chosen. A base with like keys together keeps them."""
    # if all blocks are in full, nothing is pooled and both are the same
    pooled = any(part.mask_ratios.width(1) < 1 for part in sparse_parts(base))
    return base.grouping == ORDER and pooled


def compare(calls: Sequence[Call], scales: Sequence[float]) -> Compared:
    """Compares the calls measured with like keys together with the base in token order.

    Calls whose output or error in token order is not finite are left out.
    """
    usable = [
        call for call in calls if call.norm > 0 and math.isfinite(call.in_order[1] / call.norm)
    ]
    if not usable:
        return Compared(ORDER, None, None)
    density = _mean(call.in_order[0] for call in usable)
    order = _mean(call.in_order[1] / call.norm for call in usable)
    curve = [
        (_mean(density for density, _ in rung), _mean(
            error / call.norm for call, (_, error) in zip(usable, rung, strict=True)
        ))
        for rung in zip(*(call.rungs for call in usable), strict=True)
    ]  # fmt: skip
    # with thresholds, the same budget may have another density
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
