"""How a call's attention is spread over blocks, how well the estimator finds its mass, and the
figures that are published of real models."""

from __future__ import annotations

from statistics import fmean

import torch

from ..likeness import Look
from ..recall import SHARES, Call, recall_of_heads, share_holding
from .watch import Seen

ORDERS = ("raster", "Gilbert")
BLOCK = 128
PLAN_STEP = 3  # whose plan LoSA keeps for the steps after it
# name -> of a call in token order, and of the same call with like keys together
ESTIMATORS = {
    "sub_block": lambda call, like: call.mass(),
    "sub_block, second moment": lambda call, like: call.mass(second_moment=True),
    "sub_block, like keys": lambda call, like: like.mass(),
    "sub_block, like keys, second moment": lambda call, like: like.mass(second_moment=True),
    "each query, mean keys of blocks": lambda call, like: call.per_query(BLOCK),
    "each query, keys pooled by 8": lambda call, like: call.per_query(8),
    "mean query of the block": lambda call, like: call.one_log_sum_exp(False, queries=BLOCK),
}


def measure(seen: Seen, grid: tuple[int, int, int]) -> dict:
    """One call's figures by order: "holds_90": per head, share of 128 x 128 blocks that holds 90%
    of a row's softmax mass; "recall": estimator -> at 5, 10 and 20% of the blocks; "heads":
    estimator -> the same of each head."""
    found = {}
    for order in ORDERS:
        method = None if order == "raster" else order
        call = Call(seen.q, seen.k, grid, method, BLOCK)
        like = Call(seen.q, seen.k, grid, method, BLOCK, seen.v)
        exact = call.mass(importance="exact")
        heads = {}
        for name, make in ESTIMATORS.items():
            scores = make(call, like)
            heads[name] = [recall_of_heads(scores, exact, share).tolist() for share in SHARES]
        found[order] = {
            "holds_90": share_holding(exact).tolist(),
            "recall": {name: [fmean(x) for x in values] for name, values in heads.items()},
            "heads": heads,
        }
    return {"step": seen.step, "layer": seen.layer, **found}


class Structure:
    """Figures of `likeness.py` for some steps of a dense run, every layer and head.

    steps  those looked at, from 0. What a plan of step `PLAN_STEP`, the last of them where a run is
           shorter, still holds is told of the later ones.
    """

    def __init__(self, grid: tuple[int, int, int], steps: int, device):
        last = steps - 1
        self.plan_step = min(PLAN_STEP, last)
        middle = (self.plan_step + i * (last - self.plan_step) / 3 for i in range(4))
        self.steps = sorted({0, *(round(step) for step in middle)})
        self.look = Look(grid, device)
        self.plans: dict[int, torch.Tensor] = {}
        self.calls: list[dict] = []

    def visit(self, seen: Seen) -> None:
        if seen.step not in self.steps:
            return
        found = self.look.at(seen.q, seen.k, seen.v)
        figures = dict(found.figures)
        if seen.step == self.plan_step:
            self.plans[seen.layer] = found.plan()
            figures["plan_share"] = found.plan().float().mean((1, 2)).tolist()
        elif seen.step > self.plan_step:
            figures["plan_holds"] = found.held_by(self.plans[seen.layer])
        figures = {name: [round(x, 5) for x in values] for name, values in figures.items()}
        self.calls.append({"step": seen.step, "layer": seen.layer, "figures": figures})
