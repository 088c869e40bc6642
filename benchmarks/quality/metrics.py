"""The metrics of the tables of clips."""

from __future__ import annotations

import torch

from psa_pack.tools.clip_metrics import compare_frames

__all__ = ("METRICS", "compare_frames", "relative")

# name -> heading; of the first three more is better, of the last two less; sharpness is best at 1
METRICS = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "haarpsi": "HaarPSI",
    "sharpness": "sharpness",
    "temporal": "temporal difference",
    "latent": "latent rel-L2",
}


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """|found - wanted| / |wanted| (rel-L2)."""
    return ((found.float() - wanted.float()).norm() / wanted.float().norm()).item()
