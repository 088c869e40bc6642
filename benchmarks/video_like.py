"""Made-up queries and keys with the traits of video self-attention.

Every head has a smooth random field over the (frames, height, width) grid: what a place looks like.
Queries and keys both see it, each adds a smooth field of its own and white noise; then come what
models do: RMS normalisation and a 3D rotary embedding. These are no real model's activations.
"""

from __future__ import annotations

import math

import torch

CORRELATION_LENGTHS = (16.0, 7.0, 3.0)  # tokens; frames are correlated over half as many
WAVES = 192  # plane waves a field is made of
ROTARY_BASE = 10_000.0


def video_like_qk(
    grid: tuple[int, int, int], heads: int, dim: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(q, k), both float32 `[1, heads, frames * height * width, dim]`, in raster order.

    `dim` must be even. Multiply q by a gain to make the attention more peaked.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = torch.cartesian_prod(*(torch.arange(size) for size in grid)).float().view(-1, 3)
    angles = _rotary_angles(cells, dim)
    q, k = torch.empty(2, 1, heads, len(cells), dim)
    for head in range(heads):
        mixture = torch.rand(len(CORRELATION_LENGTHS), generator=generator) + 0.25
        mixture /= mixture.norm()
        looks = _field(cells, dim, mixture, generator)
        wants = _field(cells, dim, mixture, generator)
        offset = 0.3 * torch.randn(dim, generator=generator)
        q_noise, k_noise = 0.4 * torch.randn(2, len(cells), dim, generator=generator)
        q[0, head] = _rotate(_rms_norm(0.85 * looks + 0.5 * wants + offset / 2 + q_noise), angles)
        k[0, head] = _rotate(_rms_norm(looks + offset + k_noise), angles)
    return q, k


def _field(
    cells: torch.Tensor, dim: int, mixture: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """`[cells, dim]`: Gaussian fields of unit variance, as sums of random plane waves."""
    field = torch.zeros(len(cells), dim)
    for length, weight in zip(CORRELATION_LENGTHS, mixture, strict=True):
        lengths = torch.tensor([length / 2, length, length])
        waves = torch.randn(3, WAVES, generator=generator) / lengths[:, None]
        phases = 2 * math.pi * torch.rand(WAVES, generator=generator)
        amplitudes = torch.randn(WAVES, dim, generator=generator) * math.sqrt(2 / WAVES)
        field += weight * torch.cos(cells @ waves + phases) @ amplitudes
    return field


def _rms_norm(x: torch.Tensor) -> torch.Tensor:
    return x * x.square().mean(-1, keepdim=True).rsqrt()


def _rotary_angles(cells: torch.Tensor, dim: int) -> torch.Tensor:
    """`[cells, dim / 2]`: about a third of the pairs for each axis, time gets the rest."""
    spatial = dim // 2 // 3
    parts = []
    for axis, pairs in enumerate((dim // 2 - 2 * spatial, spatial, spatial)):
        frequencies = ROTARY_BASE ** (-torch.arange(pairs) / max(pairs, 1))
        parts.append(cells[:, axis : axis + 1] * frequencies)
    return torch.cat(parts, 1)


def _rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    even, odd = x[:, 0::2], x[:, 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(1)
