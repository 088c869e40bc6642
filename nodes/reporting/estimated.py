"""What was estimated before the run, to compare with what was measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from ...psa_kernels.config import parse_range
from ..estimate.calls import Plan, calls_of_run
from ..estimate.density import Tokens
from ..estimate.models import MODELS
from ..estimate.step import estimate_run
from ..estimate.times import offer
from ..recording.run_log import LoggedRun


def estimated(logged: LoggedRun) -> dict[str, Any] | None:
    """Figures of the attention, a step and the run; None for an unknown model."""
    model = MODELS.get(logged.preset.family) if logged.preset else None
    shapes = list(logged.record.shapes) if logged.record else []
    if model is None or logged.grid is None or not shapes:
        return None
    if (shapes[0].heads, shapes[0].head_dim) != (model.heads, model.head_dim):
        return None  # a preset of a family that is not the model's
    grid, others = logged.grid
    tokens, config = Tokens(grid, others), logged.preset.config
    steps = logged.report["steps"]
    sparse = [step["range"] for step in steps if step["sparse"]]
    ranges = Counter(parse_range(name) for name in sparse if name is not None)
    plan = Plan(len(steps), len(sparse), ranges)
    calls = calls_of_run(config, model.blocks, plan, logged.dense_blocks)
    figures = estimate_run(calls, tokens, model, plan)
    found = {"attention": figures["sparse_calls"], "share": figures["time_share"]}
    found |= {name: figures[name] for name in ("step", "run", "break_even")}
    figures = {name: asdict(figure) for name, figure in found.items()}
    return figures | {"offer": offer(model.head_dim)}
