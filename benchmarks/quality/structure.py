"""The figures that are published of real models, of some steps of a dense run."""

from __future__ import annotations

import torch

from ..likeness import Look
from .watch import Seen

PLAN_STEP = 3  # whose plan LoSA keeps for the steps after it


class Structure:
    """Figures of `likeness.py` for some steps of a dense run, every layer and head.

    steps  those looked at, from 0; of those after `PLAN_STEP` (the last step of a shorter run) also
           the mass that its plan still holds
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
