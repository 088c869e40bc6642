"""Pixels <-> latents: 4 x 4 pixels of 2 frames (96 numbers) <-> 16 channels, by one linear map.

Fitted once as a PCA of clips.  Components keep the square root of their spread (halfway between
pixels' own metric and whitening), then a Hadamard rotation gives every channel the variance 1.
That is the space the model works in.  What ComfyUI saves and passes between nodes has the mean and
spread of Wan 2.1's VAE instead: `from_comfy` undoes what ComfyUI's Wan21 latent format does.

A clip of 2 T - 1 frames has T latent frames: the first one stands for the first frame alone, which
is shown twice to fill its group.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from . import checkpoint, render, scenes
from .assets import Assets

PIXELS, FRAMES, CHANNELS = 4, 2, 16
PATCH = 3 * FRAMES * PIXELS * PIXELS
FIT_SEED = 77


def frames_of(latent_frames: int) -> int:
    return FRAMES * latent_frames - (FRAMES - 1)


@dataclass(frozen=True)
class Codec:
    """encoder, decoder: [16, 96]; patch_mean: [96], of pixels in -1..1; comfy_*: [16]."""

    encoder: torch.Tensor
    decoder: torch.Tensor
    patch_mean: torch.Tensor
    comfy_mean: torch.Tensor
    comfy_std: torch.Tensor

    def to(self, device: torch.device | str) -> Codec:
        return Codec(*(tensor.to(device) for tensor in self._tensors().values()))

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """[B, 3, 2 T, H, W] in 0..1, the first frame shown twice -> [B, 16, T, H/4, W/4]."""
        patches = to_patches(pixels * 2 - 1) - self.patch_mean
        return torch.einsum("bthwp,cp->bcthw", patches, self.encoder)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """[B, 16, T, h, w] -> [B, 3, 2 T - 1, 4 h, 4 w] in 0..1."""
        patches = torch.einsum("bcthw,cp->bthwp", latent.float(), self.decoder) + self.patch_mean
        pixels = from_patches(patches).add(1).div(2).clamp(0, 1)
        first = pixels[:, :, :FRAMES].mean(2, keepdim=True)
        return torch.cat([first, pixels[:, :, FRAMES:]], dim=2)

    def from_comfy(self, latent: torch.Tensor) -> torch.Tensor:
        return (latent - _over_channels(self.comfy_mean)) / _over_channels(self.comfy_std)

    def save(self, path: Path, record: dict) -> None:
        checkpoint.save(path, self._tensors(), record)

    @classmethod
    def load(cls, path: Path) -> Codec:
        with safe_open(path, "pt") as file:
            return cls(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def _over_channels(values: torch.Tensor) -> torch.Tensor:
    return values.view(1, CHANNELS, 1, 1, 1)


def to_patches(pixels: torch.Tensor) -> torch.Tensor:
    """[B, 3, 2 T, 4 h, 4 w] -> [B, T, h, w, 96]."""
    b, c, t, h, w = pixels.shape
    split = pixels.view(b, c, t // FRAMES, FRAMES, h // PIXELS, PIXELS, w // PIXELS, PIXELS)
    return split.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


def from_patches(patches: torch.Tensor) -> torch.Tensor:
    b, t, h, w, _ = patches.shape
    split = patches.view(b, t, h, w, 3, FRAMES, PIXELS, PIXELS)
    joined = split.permute(0, 4, 1, 5, 2, 6, 3, 7)
    return joined.reshape(b, 3, t * FRAMES, h * PIXELS, w * PIXELS)


def hadamard(size: int) -> torch.Tensor:
    """An orthogonal matrix of equal magnitudes: mixes any variances into equal ones."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / size**0.5


def fit(
    comfy_mean: torch.Tensor, comfy_std: torch.Tensor, assets: Assets, *, count: int = 256
) -> tuple:
    """A codec fitted on `count` clips, and what to note about it."""
    covariance = torch.zeros(PATCH, PATCH, dtype=torch.float64)
    total, number = torch.zeros(PATCH, dtype=torch.float64), 0
    for batch in range(count // 8):
        drawn = scenes.draw(FIT_SEED + batch, 8, frames=5, height=256, width=256, assets=assets)
        pixels = render.render(drawn, assets, lead=FRAMES - 1)
        patches = to_patches(pixels * 2 - 1).flatten(0, 3).double()
        covariance += patches.T @ patches
        total += patches.sum(0)
        number += len(patches)
    mean = total / number
    variance, basis = torch.linalg.eigh(covariance / number - torch.outer(mean, mean))
    kept, basis = variance.flip(0)[:CHANNELS], basis.flip(1)[:, :CHANNELS]
    # the sign of an eigenvector is free: fix it, so that a fit can be repeated
    basis = basis * basis.sum(0).sign().where(basis.sum(0).abs() > 1e-9, torch.tensor(1.0))
    scale = kept**-0.25
    scale = scale / (kept * scale**2).mean().sqrt()
    rotation = hadamard(CHANNELS)
    codec = Codec(
        encoder=(rotation @ (basis * scale).T).float(),
        decoder=(rotation @ (basis / scale).T).float(),
        patch_mean=mean.float(),
        comfy_mean=comfy_mean.flatten().float(),
        comfy_std=comfy_std.flatten().float(),
    )
    return codec, {
        "clips": count,
        "seed": FIT_SEED,
        "variance_kept": (kept.sum() / variance.sum()).item(),
        "component_variance": [round(v, 4) for v in kept.tolist()],
    }
