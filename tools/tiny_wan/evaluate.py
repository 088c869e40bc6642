"""How good a trained model is: loss by noise level on clips never trained on, and how structured
its attention is."""

from __future__ import annotations

import torch

from . import conditions, pool
from .codec import Codec
from .curriculum import Size, tokens
from .sample import velocity

SIGMAS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
VALIDATION_SEED = 9_000_000_000
BLOCK = 128
MASS = 0.9


def validation_clips(codec: Codec, size: Size, count: int, device: str):
    """Latents and word ids that no training seed gives."""
    drawn = pool.draw(VALIDATION_SEED, count, size).to(device)
    return pool.latents_of(drawn, codec.to(device)), drawn.words


@torch.inference_mode()
def loss_by_sigma(model, latents: torch.Tensor, words: torch.Tensor) -> dict[float, float]:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    context = conditions.embed(words)
    losses = {}
    for sigma in SIGMAS:
        predicted = velocity(model, latents.lerp(noise, sigma), sigma, context)
        losses[sigma] = torch.nn.functional.mse_loss(predicted, noise - latents).item()
    return losses


@torch.inference_mode()
def attention_structure(
    model,
    latents: torch.Tensor,
    words: torch.Tensor,
    size: Size,
    sigma: float,
    order: torch.Tensor | None = None,
) -> list[float]:
    """By layer: the mean share of key blocks of 128 that hold 90% of a query block's softmax mass.

    latents: [1, 16, T, h, w] without noise.  order: a permutation of the tokens; without one the
    blocks are of the model's own order (time, row, column).
    """
    shares: list[float] = []

    def watch(func, q, k, v, *args, heads, **kwargs):
        if q.shape[1] == k.shape[1] == tokens(size):
            shares.append(_share(q, k, heads, order))
        return func(q, k, v, *args, heads=heads, **kwargs)

    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    velocity(
        model,
        latents.lerp(noise, sigma),
        sigma,
        conditions.embed(words),
        {"optimized_attention_override": watch},
    )
    return shares


def _share(q: torch.Tensor, k: torch.Tensor, heads: int, order: torch.Tensor | None) -> float:
    """q, k: [1, L, heads * D]."""
    length = q.shape[1] // BLOCK * BLOCK
    if order is not None:
        q, k = q[:, order], k[:, order]
    q, k = (x[0, :length].float().unflatten(1, (heads, -1)).transpose(0, 1) for x in (q, k))
    needed = []
    for rows in q.split(BLOCK, dim=1):
        weights = (rows @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        mass = weights.unflatten(2, (-1, BLOCK)).sum((1, 3)) / rows.shape[1]
        covered = mass.sort(descending=True).values.cumsum(-1)
        # the blocks before the mass is reached, and the one that reaches it
        needed.append((covered < MASS).sum(-1).add(1).clamp(max=mass.shape[-1]))
    return torch.stack(needed).float().mean().item() / (length // BLOCK)
