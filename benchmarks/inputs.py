"""Made-up q, k, v with the traits of video self-attention, and how far a result is from dense.

Every head mixes smooth random fields over the (frames, height, width) grid, coarse to fine. q and k
share most of theirs, so that a token attends to places that look alike; both get noise, channel
offsets, RMS norm and a 3D rotary embedding. v is a linear view of the field plus noise. A factor on
q then sets how peaked the attention is: `PROFILES` give the share of key blocks that hold 90% of
the softmax mass of a query block, in raster order. A trained model's own q, k, v come from a file
that `quality --capture` wrote (`Captured`).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from .block_mass import by_block, needed

SHAPES = {  # heads, head dim, token grid, extra tokens in front
    "wan1.3b-480p": (12, 128, (21, 30, 52), 0),
    "wan14b-480p": (40, 128, (21, 30, 52), 0),
    "wan14b-720p": (40, 128, (21, 45, 80), 0),
    "cogvideox": (24, 64, (13, 30, 45), 226),
    "kandinsky5": (28, 64, (31, 32, 48), 0),
    "tiny": (4, 128, (8, 30, 32), 0),
}
PROFILES = {"peaked": 0.10, "medium": 0.25, "flat": 0.50}
CAPTURED = "captured"  # shape and profile of what a file holds
BLOCK = 128
# frames and pixels between the knots of each field
KNOTS = ((10, 16), (6, 7), (3, 3))


def smooth_field(grid, channels: int, weights, rng) -> torch.Tensor:
    """`[tokens, channels]`: a weighted sum of interpolated noise of several scales."""
    total = 0
    for (frames, pixels), weight in zip(KNOTS, weights, strict=True):
        sizes = [
            max(2, math.ceil(n / s) + 1)
            for n, s in zip(grid, (frames, pixels, pixels), strict=True)
        ]
        knots = torch.randn(1, channels, *sizes, generator=rng, device=rng.device)
        field = functional.interpolate(knots, size=grid, mode="trilinear", align_corners=True)
        field = field.flatten(2)[0].T
        total = total + weight * field / field.std(0, keepdim=True)
    return total


def rotary_angles(grid, dim: int, device) -> torch.Tensor:
    """`[tokens, dim / 2]`: height and width get 2 * (dim // 6) channels each, frames the rest."""
    per_axis = 2 * (dim // 6)
    parts = []
    axes = torch.meshgrid(*(torch.arange(n, device=device) for n in grid), indexing="ij")
    for axis, channels in zip(axes, (dim - 2 * per_axis, per_axis, per_axis), strict=True):
        rate = 10000.0 ** (-torch.arange(0, channels, 2, device=device).double() / channels)
        parts.append(axis.flatten().double()[:, None] * rate)
    return torch.cat(parts, 1).float()


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    even, odd = x[:, 0::2], x[:, 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), 2).flatten(1)


def normed(x: torch.Tensor) -> torch.Tensor:
    return x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()


def make(shape, device="cuda", dtype=torch.bfloat16, heads=None, seed=0):
    """q, k, v `[1, H, L, D]`, views of `[1, L, H, D]` memory as ComfyUI hands them over."""
    count, dim, grid, text = SHAPES[shape] if isinstance(shape, str) else shape
    count = heads or count
    video = math.prod(grid)
    angles = rotary_angles(grid, dim, device)
    q, k, v = (
        torch.empty(1, text + video, count, dim, dtype=dtype, device=device).transpose(1, 2)
        for _ in range(3)
    )
    for head in range(count):
        rng = torch.Generator(device).manual_seed(seed * 1000 + head)

        def noise(*size, rng=rng):
            return torch.randn(*size, generator=rng, device=device)

        weights = torch.rand(3, generator=rng, device=device) + 0.25
        weights = (weights / weights.norm()).tolist()
        shared, own = (smooth_field(grid, dim, weights, rng) for _ in range(2))
        offset = 0.3 * noise(1, dim)
        offset[:, torch.randint(dim, (3,), generator=rng, device=device)] *= 4
        keys = normed(shared + 0.4 * noise(video, dim) + offset)
        queries = normed(0.85 * shared + 0.5 * own + 0.4 * noise(video, dim) + 0.5 * offset)
        gain = (0.15 * noise(1)).exp()
        k[0, head, text:] = rotate(keys, angles).to(dtype)
        q[0, head, text:] = (rotate(queries, angles) * gain).to(dtype)
        mixed = shared @ (noise(dim, dim) / dim**0.5)
        v[0, head, text:] = (mixed + 0.6 * noise(video, dim) + 0.3 * noise(1, dim)).to(dtype)
        for x in (q, k, v):
            x[0, head, :text] = normed(noise(text, dim)).to(dtype)
    return q, k, v


@dataclass(frozen=True)
class Captured:
    """q, k, v of a trained model in a file that `quality/capture.py` describes."""

    file: Path
    heads: int
    dim: int
    grid: tuple[int, int, int]

    @classmethod
    def of(cls, file: Path) -> Captured:
        """Raises ValueError for a file that is no capture, FileNotFoundError for none."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "pt") as opened:
                _, heads, length, dim = opened.get_slice("q").get_shape()
                grid = tuple(json.loads((opened.metadata() or {})["grid"]))
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{file} is no capture of q, k, v: {error}") from error
        if math.prod(grid) != length:
            raise ValueError(f"{file}: grid {grid} does not have its {length} tokens")
        return cls(file, heads, dim, grid)

    def load(self, device) -> tuple[torch.Tensor, ...]:
        """q, k, v as `make` gives them, in bf16."""
        from safetensors.torch import load_file

        tensors = load_file(self.file, str(device))
        return tuple(tensors[n].transpose(1, 2).contiguous().transpose(1, 2) for n in "qkv")


def sampled(count: int, of: int, seed: int) -> torch.Tensor:
    return torch.randperm(of, generator=torch.Generator().manual_seed(seed))[:count]


def share_for_mass(q, k, gain: float, heads=8, blocks=4, mass=0.9) -> float:
    """Share of key blocks that hold `mass` of a query block's softmax mass, in the given order."""
    length, shares = k.shape[2], []
    for head in range(0, q.shape[1], max(1, q.shape[1] // heads)):
        for block in sampled(blocks, length // BLOCK, 3).tolist():
            rows = q[0, head, block * BLOCK : (block + 1) * BLOCK].float() * gain
            p = torch.softmax(rows @ k[0, head].float().T * q.shape[3] ** -0.5, 1).mean(0)
            shares.append(needed(by_block(p, BLOCK), mass))
    return torch.stack(shares).mean().item()


def gain_for(q, k, profile: str) -> float:
    """The factor on q that gives the profile its peakedness, by bisection; 1 for captured q."""
    if profile == CAPTURED:
        return 1.0
    low, high = 0.02, 6.0
    for _ in range(9):
        middle = math.sqrt(low * high)
        if share_for_mass(q, k, middle) > PROFILES[profile]:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def dense_rows(q, k, v, rows) -> torch.Tensor:
    """float32 dense attention of some rows, `[heads, rows, D]`."""
    scale = q.shape[3] ** -0.5
    return torch.stack(
        [
            torch.softmax(q[0, h, rows].float() @ k[0, h].float().T * scale, 1) @ v[0, h].float()
            for h in range(q.shape[1])
        ]
    )


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """|found - wanted| / |wanted|; NaN if anything is not finite."""
    return ((found.float() - wanted).norm() / wanted.norm()).item()
