"""How far one clip is from another, as pictures and in time.

PSNR, SSIM and HaarPSI come from `piq`, a mean over frames. LPIPS is missing on purpose: no package
ships its backbone's weights (`lpips`, `torchmetrics`, `piq` and `pyiqa` fetch them when first used)
and nothing here downloads. HaarPSI stands in as the perceptual one: wavelets, no weights.
"""

from __future__ import annotations

import torch

AT_ONCE = 16  # frames: bounds the memory of a long clip


def compare_frames(reference: torch.Tensor, other: torch.Tensor) -> dict[str, float]:
    """The pixel metrics of two clips `[frames, 3, height, width]`, float32 in 0..1.

    temporal  how much the changes from frame to frame differ, |Δother - Δreference| in proportion
              to |Δreference|, means of absolute values: 0 for the same motion, however bright;
              about 1 or more where the motion has nothing to do with the reference's
    sharpness energy of the differences between neighbouring pixels, other / reference: 1 as sharp,
              below 1 softer, above 1 sharper or noisier; it does not ask whether the pictures agree
    Raises ValueError for clips of unlike shape.
    """
    import piq

    if reference.shape != other.shape:
        raise ValueError(f"clips of shape {tuple(reference.shape)} and {tuple(other.shape)}")
    names = {"psnr": piq.psnr, "ssim": piq.ssim, "haarpsi": piq.haarpsi}
    found = {}
    for name, measure in names.items():
        parts = [
            measure(b, a, data_range=1.0, reduction="none").flatten()
            for a, b in zip(reference.split(AT_ONCE), other.split(AT_ONCE), strict=True)
        ]
        found[name] = torch.cat(parts).mean().item()
    return {
        **found,
        "temporal": temporal_difference(reference, other),
        "sharpness": sharpness(reference, other),
    }


def temporal_difference(reference: torch.Tensor, other: torch.Tensor) -> float:
    """See `compare_frames`; not finite for a reference that does not move, or has one frame."""
    change, changed = reference.diff(dim=0), other.diff(dim=0)
    return ((changed - change).abs().mean() / change.abs().mean()).item()


def sharpness(reference: torch.Tensor, other: torch.Tensor) -> float:
    """See `compare_frames`; not finite for a reference without any contrast."""

    def energy(frames: torch.Tensor) -> torch.Tensor:
        across, down = frames.diff(dim=3), frames.diff(dim=2)
        return across.square().mean(dtype=torch.float64) + down.square().mean(dtype=torch.float64)

    return (energy(other) / energy(reference)).item()
