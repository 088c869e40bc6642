"""The measures that the tables of clips have."""

from __future__ import annotations

import torch

from psa_pack.tools.clip_metrics import compare_frames

__all__ = ("METRICS", "compare_frames", "relative")

# name -> (heading, whether more is better)
METRICS = {
    "psnr": ("PSNR, dB", True),
    "ssim": ("SSIM", True),
    "haarpsi": ("HaarPSI", True),
    "temporal": ("temporal difference", False),
    "latent": ("latent rel-L2", False),
}


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """|found - wanted| / |wanted| (rel-L2)."""
    return ((found.float() - wanted.float()).norm() / wanted.float().norm()).item()
