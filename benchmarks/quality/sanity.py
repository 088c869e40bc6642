"""What must hold before any figure counts."""

from __future__ import annotations

from dataclasses import replace

import torch

from psa_kernels import PSAConfig, psa_attention

from ..checks import Truth
from ..method import Problem
from .metrics import relative
from .results import Results
from .subject import Clip, Sampling, Subject
from .watch import Seen, in_finer_precision, watched

# Every block at full resolution: dense attention by another way.
EVERYTHING = PSAConfig(block_n=128, rearrange_method="Gilbert", mask_ratios={1: (0.0, 1.0)})
# Of one call from float32 dense: products and weights rounded to the dtype.
CALL_TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
# Of a clip, in proportion to what rounding alone makes of it: sampling amplifies either alike.
CLIP_FACTOR = 5


class CheckFailed(Exception):  # noqa: N818 - a finding: figures would mean nothing
    """Why no figures are printed."""


def check_subject(
    subject: Subject,
    clip: Clip,
    sampling: Sampling,
    results: Results,
    everything: PSAConfig = EVERYTHING,
) -> None:
    """Adds "check" lines to `results`; raises `CheckFailed` at the first that does not hold.

    Dense sampling gives the same bits twice and another clip for another seed. PSA that keeps every
    block is dense attention: every call within rounding, the clip within what rounding makes of it.
    """

    def check(name: str, found: float, ok: bool) -> None:
        results.add("check", name=name, found=found, ok=ok)
        if not ok:
            raise CheckFailed(f"{name}: found {found:.3g}")

    dense = subject.dense(clip, sampling).latent
    calls: list[tuple[float, bool]] = []
    grid, middle = sampling.grid, sampling.steps // 2

    def visit(seen: Seen) -> None:
        if seen.step == middle:
            error = _call_error(seen, grid, everything)
            calls.append((error, error <= CALL_TOLERANCE[seen.q.dtype]))

    again = subject.dense(clip, sampling, watched(subject.model, visit)).latent
    same = torch.equal(again, dense)
    check("dense sampling again, rel-L2 (same bits)", relative(again, dense), same)
    other = relative(subject.dense(Clip.number(clip.index + 1), sampling).latent, dense)
    check("another clip, rel-L2 (at least 0.1)", other, other >= 0.1)
    worst, _ = max(calls)
    fine = all(ok for _, ok in calls)
    check("calls with every block kept, worst rel-L2 (rounding)", worst, fine)
    finer = subject.dense(clip, sampling, in_finer_precision(subject.model)).latent
    floor = relative(finer, dense)
    check("dense with attention in finer precision, rel-L2", floor, floor > 0)
    whole = subject.sparse(clip, sampling, everything)
    error = relative(whole.latent, dense)
    name = f"clip with every block kept, rel-L2 (at most {CLIP_FACTOR} times the line above)"
    check(name, error, error <= CLIP_FACTOR * floor)


def check_dense(subject: Subject, clip: Clip, sampling: Sampling, results: Results) -> None:
    """The check of a run that samples dense alone: its first step gives the same bits twice, also
    while it is watched. Adds a "check" line; raises `CheckFailed`."""
    one = replace(sampling, steps=1)
    dense = subject.dense(clip, one).latent
    again = subject.dense(clip, one, watched(subject.model, lambda seen: None)).latent
    found, ok = relative(again, dense), torch.equal(again, dense)
    name = "a dense step again, rel-L2 (same bits)"
    results.add("check", name=name, found=found, ok=ok)
    if not ok:
        raise CheckFailed(f"{name}: found {found:.3g}")


def _call_error(seen: Seen, grid: tuple[int, int, int], config: PSAConfig) -> float:
    problem = Problem(seen.q, seen.k, seen.v, grid, 0)
    out = psa_attention(seen.q, seen.k, seen.v, config=config, grid=grid)
    return Truth.of(problem).errors(out, problem)[0]


def passed(lines: list[dict]) -> None:
    """Raises `CheckFailed` unless `lines` hold checks and all of them held."""
    checks = [line for line in lines if line["kind"] == "check"]
    if not checks:
        raise CheckFailed("the results hold no checks: the run ended before them")
    for line in checks:
        if not line["ok"]:
            raise CheckFailed(f"{line['name']}: found {line['found']:.4g}")
