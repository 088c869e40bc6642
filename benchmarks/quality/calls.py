"""Single attention calls: the settings' error on the model's own q, k, v and on synthetic ones."""

from __future__ import annotations

import torch

from psa_kernels import psa_attention

from .. import profiles
from ..checks import Truth
from ..method import Problem
from .density import Unreachable
from .second_moment import variant_errors
from .settings import Base, Setting


def call_errors(problem: Problem, rows: list[Setting]) -> dict[str, list[float]]:
    """key -> [rel-L2 from float32 dense on sampled rows, density] of each setting."""
    truth = Truth.of(problem)
    found, known = {}, {}
    for row in rows:
        # sampler steps do not matter to a call: rows that differ in them alone are one
        config = row.config.replace(warmup_steps=0, description="", verbose=False)
        if config not in known:
            out, stats = psa_attention(
                problem.q, problem.k, problem.v, config=config, grid=problem.grid,
                return_stats=True, need_kernels=problem.q.is_cuda,
            )  # fmt: skip
            known[config] = [truth.errors(out, problem)[0], stats.density]
        found[row.key] = known[config]
    return found


def moment_errors(problem: Problem, targets, tokens: int, steps: int) -> dict[str, dict]:
    """target -> variant of the second moment -> rel-L2; the base's shares, exact importance.

    Targets that the base cannot meet are left out, as from the tables.
    """
    truth = Truth.of(problem)
    found = {}
    for target in targets:
        try:
            config = Base(tokens, steps, target).config(importance="exact")
        except Unreachable:
            continue
        found[f"{target:g}"] = variant_errors(problem, config, truth)
    return found


def synthetic(heads: int, dim: int, grid, device, dtype: torch.dtype):
    """Yields (profile, Problem) of `profiles.py`, shaped as the model's own calls."""
    source = profiles.Source((heads, dim, grid, 0), device, dtype)
    for profile in profiles.ALL:
        yield profile, Problem(*source.of(profile), grid, 0)
