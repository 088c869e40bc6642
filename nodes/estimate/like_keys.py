"""What `grouping: similar` adds to the time of a call ("like_keys" in measured.json).

More where the groups are made anew, less than nothing where they and the plan are kept. Measured on
another GPU than the rest, and so taken in units of its own dense call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...psa_kernels.config import PSAConfig


def added(
    measured: Sequence[Mapping[str, Any]], head_dim: int, tokens: int
) -> tuple[float, float]:
    """(made anew, kept), in units of the dense call of the measured shape."""
    (found,) = (x for x in measured if (x["head_dim"], x["tokens"]) == (head_dim, tokens))
    order, dense = sum(found["order_ms"]), found["dense_ms"] * len(found["order_ms"])
    return (sum(found["anew_ms"]) - order) / dense, (sum(found["kept_ms"]) - order) / dense


def mean(config: PSAConfig, anew: float, kept: float) -> float:
    """Over the steps for which groups are kept."""
    return (anew + (config.refresh - 1) * kept) / config.refresh


def words(config: PSAConfig, measured: Sequence[Mapping[str, Any]]) -> str:
    """For a note; empty in token order."""
    if config.grouping != "similar":
        return ""
    often = "in each step" if config.refresh == 1 else f"every {config.refresh} steps"
    return (
        f"; what like keys together add was measured on one {measured[0]['gpu']}, and is counted "
        f"as if their groups were made {often}: the first two sparse steps of a run both make them"
    )
