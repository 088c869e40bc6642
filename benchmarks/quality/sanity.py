"""What must hold before any figure counts."""

from __future__ import annotations

import torch

from psa_kernels import PSAConfig

from .metrics import relative
from .results import Results
from .subject import Clip, Sampling, Subject

# Every block at full resolution: dense attention by another way.
EVERYTHING = PSAConfig(block_n=128, rearrange_method="Gilbert", mask_ratios={1: (0.0, 1.0)})
# Rounding alone separates the two, and sampling amplifies it from step to step: float32 on a CPU,
# 11 bits of mantissa or fewer on a GPU. What is measured is larger by far (tens of percent).
TOLERANCE = {"cpu": 1e-3, "cuda": 0.05}


class CheckFailed(Exception):  # noqa: N818 - a finding: figures would mean nothing
    """Why no figures are printed."""


def check_subject(
    subject: Subject, clip: Clip, sampling: Sampling, results: Results, everything=EVERYTHING
) -> None:
    """Adds "check" lines to `results`; raises `CheckFailed` at the first that does not hold.

    Dense sampling gives the same bits twice and another clip for another seed; PSA that keeps every
    block gives the dense clip within `TOLERANCE`.
    """
    dense = subject.dense(clip, sampling).latent

    def check(name: str, found: float, ok: bool) -> None:
        results.add("check", name=name, found=found, ok=ok)
        if not ok:
            raise CheckFailed(f"{name}: rel-L2 {found:.3g}")

    again = subject.dense(clip, sampling).latent
    check("dense sampling repeats bit for bit", relative(again, dense), torch.equal(again, dense))
    other = subject.dense(Clip.number(clip.index + 1), sampling).latent
    apart = relative(other, dense)
    check("another clip is another one", apart, apart > 0.1)
    whole = subject.sparse(clip, sampling, everything)
    density = whole.report["density"]
    results.add(
        "check", name="density of PSA that keeps every block", found=density, ok=density == 1
    )
    if density != 1:
        raise CheckFailed(f"PSA that keeps every block has density {density:.4f}")
    error = relative(whole.latent, dense)
    check("PSA that keeps every block is dense", error, error <= TOLERANCE[subject.device.type])


def passed(lines: list[dict]) -> None:
    """Raises `CheckFailed` unless `lines` hold checks and all of them held."""
    checks = [line for line in lines if line["kind"] == "check"]
    if not checks:
        raise CheckFailed("the results hold no checks: the run ended before them")
    for line in checks:
        if not line["ok"]:
            raise CheckFailed(f"{line['name']}: found {line['found']:.4g}")
