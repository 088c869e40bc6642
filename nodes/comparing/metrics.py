"""PSNR, SSIM and the temporal difference of two clips, frame by frame, in plain torch.

Frames are `[N, H, W, 3]` in 0..1, like ComfyUI's IMAGE. Nothing here holds more than a few
frames at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn import functional

WINDOW, SIGMA = 11, 1.5  # of SSIM's Gaussian
K1, K2 = 0.01, 0.03
AT_ONCE = 1_000_000  # pixels of one clip compared at a time; about 300 MB in SSIM


def chunks(reference: torch.Tensor, other: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Pairs of a few frames `[n, 3, H, W]`, float32, clamped to 0..1, on the reference's device."""
    step = max(1, AT_ONCE // (reference.shape[1] * reference.shape[2]))
    for one, two in zip(reference.split(step), other.split(step), strict=True):
        yield tuple(x.movedim(-1, 1).to(reference.device, torch.float32).clamp(0, 1)
                    for x in (one, two))  # fmt: skip


def mean_squared_errors(reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`[n]`, float64, of frames `[n, 3, H, W]`."""
    return (reference - other).double().square().flatten(1).mean(1).cpu()


def psnr(mean_squared_error: float) -> float:
    """In dB for values in 0..1; infinite for equal pictures."""
    return math.inf if mean_squared_error == 0 else -10 * math.log10(mean_squared_error)


def ssim(reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`[n]`, of frames `[n, 3, H, W]` in 0..1, at least 11 pixels high and wide.

    Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004): Gaussian window of 11 x 11 with
    sigma 1.5, K1 .01, K2 .03, no padding, the mean over the colours; at full resolution,
    without scaling the picture down first.
    """
    place = torch.arange(WINDOW, dtype=torch.float64, device=reference.device) - WINDOW // 2
    line = torch.exp(-(place**2) / (2 * SIGMA**2))
    line = (line / line.sum()).float()
    channels = reference.shape[1]

    def blurred(x: torch.Tensor) -> torch.Tensor:
        for shape in ((1, 1, WINDOW, 1), (1, 1, 1, WINDOW)):
            weight = line.view(shape).expand(channels, -1, -1, -1)
            x = functional.conv2d(x, weight, groups=channels)
        return x

    c1, c2 = K1**2, K2**2
    mean_a, mean_b = blurred(reference), blurred(other)
    spread = blurred(reference**2) + blurred(other**2) - mean_a**2 - mean_b**2
    shared = blurred(reference * other) - mean_a * mean_b
    brightness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (brightness * (2 * shared + c2) / (spread + c2)).flatten(1).mean(1).cpu()


class TemporalDifference:
    """How much two clips' changes from frame to frame differ, |Δother - Δreference|, relative to
    the reference's mean |Δreference|: 0 for the same motion at any brightness, about 1 or more for
    unrelated motion.
    """

    def __init__(self):
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None
        self._differences: list[float] = []
        self._changes: list[float] = []

    def add(self, reference: torch.Tensor, other: torch.Tensor) -> None:
        """The next frames `[n, 3, H, W]`."""
        if self._last is not None:
            reference = torch.cat((self._last[0], reference))
            other = torch.cat((self._last[1], other))
        self._last = reference[-1:].clone(), other[-1:].clone()
        change, changed = reference.diff(dim=0), other.diff(dim=0)
        self._differences += (changed - change).abs().double().flatten(1).mean(1).tolist()
        self._changes += change.abs().double().flatten(1).mean(1).tolist()

    def values(self) -> list[float] | None:
        """One value for each frame but the first; their mean is the clip's. None: nothing moves."""
        if not sum(self._changes):
            return None
        scale = sum(self._changes) / len(self._changes)
        return [difference / scale for difference in self._differences]
