"""How a call's attention is spread over blocks, and how well the estimator finds its mass."""

from __future__ import annotations

from ..recall import SHARES, Call, recall, share_holding
from .watch import Seen

ORDERS = ("raster", "Gilbert")
BLOCK = 128
ESTIMATORS = {
    "sub_block": lambda call: call.mass(),
    "sub_block, second moment": lambda call: call.mass(second_moment=True),
    "mean query of the block": lambda call: call.one_log_sum_exp(False, queries=BLOCK),
}


def measure(seen: Seen, grid: tuple[int, int, int]) -> dict:
    """One call's figures by order: "holds_90": per head, share of 128 x 128 blocks that holds 90%
    of a row's softmax mass; "recall": estimator -> at 5, 10 and 20% of the blocks."""
    found = {}
    for order in ORDERS:
        call = Call(seen.q, seen.k, grid, None if order == "raster" else order, BLOCK)
        exact = call.mass(importance="exact")
        found[order] = {
            "holds_90": share_holding(exact).tolist(),
            "recall": {
                name: [recall(scores, exact, share) for share in SHARES]
                for name, scores in ((name, make(call)) for name, make in ESTIMATORS.items())
            },
        }
    return {"step": seen.step, "layer": seen.layer, **found}
