"""Pictures of two clips: their difference, and the clips side by side."""

from __future__ import annotations

import torch


def difference(reference: torch.Tensor, other: torch.Tensor, gain: float) -> torch.Tensor:
    """|other - reference| times `gain`, clamped; frames `[n, H, W, 3]`, on the CPU."""
    out = torch.empty(reference.shape, dtype=torch.float32)
    for i, (one, two) in enumerate(zip(reference, other, strict=True)):
        out[i] = ((two.to(one.device).float() - one.float()).abs() * gain).clamp(0, 1)
    return out


def side_by_side(reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The reference on the left, a black line, the other on the right; on the CPU.

    Width and height are even, as video needs: an odd height gets a black line below.
    """
    frames, height, width, channels = reference.shape
    gap = max(2, width // 100 // 2 * 2)
    size = (height + height % 2, 2 * width + gap)
    out = torch.zeros(frames, *size, channels)
    out[:, :height, :width] = reference
    out[:, :height, width + gap :] = other
    return out
