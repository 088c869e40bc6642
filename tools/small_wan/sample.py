"""Sampling from a trained model with plain Euler steps, without ComfyUI's samplers."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from safetensors.torch import load_file

from . import comfy_model, conditions, shipping

SHIFT = 8.0  # what ComfyUI samples Wan with by default


def load_model(path: Path, comfyui: Path, *, device: str) -> torch.nn.Module:
    """A trained or a shipped model, in bfloat16 on a GPU and float32 on a CPU."""
    weights = shipping.plain(load_file(path))
    cuda = torch.device(device).type == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    shape = comfy_model.shape_of(weights)
    model = comfy_model.build(comfyui, device=device, dtype=dtype, **shape)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def sigmas(steps: int, shift: float = SHIFT) -> torch.Tensor:
    """[steps + 1] from 1 to 0, as ComfyUI's "simple" scheduler has them for Wan."""
    t = torch.linspace(1, 0, steps + 1)
    return shift * t / (1 + (shift - 1) * t)


def velocity(
    model, x: torch.Tensor, sigma: float, context: torch.Tensor, options=None
) -> torch.Tensor:
    """The model's "noise - x0" for latents [B, 16, T, h, w], float32."""
    dtype = next(model.blocks.parameters()).dtype
    timestep = torch.full((len(x),), sigma * 1000, device=x.device)
    out = model(
        x.to(dtype), timestep, context.to(x.device, dtype), transformer_options=dict(options or {})
    )
    return out.float()


def starting_noise(seeds: list[int], size: tuple[int, int, int]) -> torch.Tensor:
    """[len(seeds), 16, T, 2 rows, 2 columns]; a size is in tokens."""
    frames, rows, columns = size
    shape = (16, frames, rows * 2, columns * 2)
    return torch.stack(
        [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )


@torch.inference_mode()
def euler(
    model,
    prompts: list[str],
    seeds: list[int],
    size: tuple[int, int, int],
    *,
    steps: int = 20,
    cfg: float = 4.0,
    shift: float = SHIFT,
    device: str,
    options: dict | None = None,
) -> torch.Tensor:
    """Model-space latents, one clip a (prompt, seed) pair."""
    x = starting_noise(seeds, size).to(device)
    context = torch.cat([conditions.context(prompt) for prompt in prompts])
    empty = conditions.context("").expand_as(context)
    levels = sigmas(steps, shift).tolist()
    for sigma, following in itertools.pairwise(levels):
        guided = velocity(model, x, sigma, context, options)
        if cfg != 1:
            free = velocity(model, x, sigma, empty, options)
            guided = free + cfg * (guided - free)
        x = x + (following - sigma) * guided
    return x
