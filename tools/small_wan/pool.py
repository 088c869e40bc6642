"""Latents to train on: rendered and encoded in batches, each clip used several times.

Rendering a clip costs about as much as a training step on it, so every batch that is rendered goes
into a pool from which several steps draw, each time with other noise and among other clips.
"""

from __future__ import annotations

import torch

from . import render, scenes
from .assets import Assets
from .codec import FRAMES, PIXELS, Codec, frames_of
from .curriculum import Size, tokens

# how many pixels are rendered at once: bounds the memory of its intermediate tensors
PIXELS_AT_ONCE = 2**25
POOLED_TOKENS = 2**21  # per size; 128 bytes each in bfloat16


def latents_of(drawn: scenes.Scenes, assets: Assets, codec: Codec) -> torch.Tensor:
    """Scenes (on the codec's device) -> model-space latents [B, 16, T, h, w], float32."""
    return codec.encode(render.render(drawn, assets, lead=FRAMES - 1).float())


def draw(seed: int, count: int, size: Size, assets: Assets) -> scenes.Scenes:
    """Scenes of a size in tokens."""
    frames, rows, columns = size
    return scenes.draw(
        seed,
        count,
        frames=frames_of(frames),
        height=rows * 2 * PIXELS,
        width=columns * 2 * PIXELS,
        assets=assets,
    )


class Pool:
    def __init__(
        self,
        codec: Codec,
        assets: Assets,
        *,
        batch_tokens: int,
        reuse: int,
        dtype: torch.dtype,
        seed: int,
    ):
        self.assets = assets
        self.codec, self.batch_tokens, self.reuse, self.dtype = codec, batch_tokens, reuse, dtype
        self.seed = seed
        self._shelves: dict[Size, _Shelf] = {}

    def batch(self, size: Size, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents [B, 16, T, h, w] and word ids [B, TOKENS, WORDS] of one step."""
        shelf = self._shelves.get(size)
        if shelf is None:
            shelf = self._shelves[size] = _Shelf(self._capacity(size))
        count = max(1, self.batch_tokens // tokens(size))
        if shelf.uses % self.reuse == 0 or shelf.filled < count:
            self._render(shelf, size, count)
        shelf.uses += 1
        pick = torch.randint(
            shelf.filled, (count,), generator=generator, device=self.codec.encoder.device
        )
        return shelf.latents[pick].float(), shelf.words[pick]

    def _capacity(self, size: Size) -> int:
        at_once = max(1, self.batch_tokens // tokens(size))
        return max(at_once, POOLED_TOKENS // tokens(size))

    def _render(self, shelf: _Shelf, size: Size, count: int) -> None:
        device = self.codec.encoder.device
        at_once = max(1, PIXELS_AT_ONCE // (tokens(size) * FRAMES * (2 * PIXELS) ** 2))
        for start in range(0, count, at_once):
            # one stream of seeds over all sizes and pieces: no clip comes twice
            self.seed += 1
            drawn = draw(self.seed, min(at_once, count - start), size, self.assets).to(device)
            shelf.put(latents_of(drawn, self.assets, self.codec).to(self.dtype), drawn.words)


class _Shelf:
    """The latest clips of one size, a ring of fixed length."""

    def __init__(self, capacity: int):
        self.capacity, self.filled, self.next, self.uses = capacity, 0, 0, 0
        self.latents = self.words = None

    def put(self, latents: torch.Tensor, words: torch.Tensor) -> None:
        if self.latents is None:
            self.latents = latents.new_empty(self.capacity, *latents.shape[1:])
            self.words = words.new_empty(self.capacity, *words.shape[1:])
        slots = (self.next + torch.arange(len(latents), device=words.device)) % self.capacity
        self.latents[slots], self.words[slots] = latents, words
        self.next = (self.next + len(latents)) % self.capacity
        self.filled = min(self.capacity, self.filled + len(latents))
