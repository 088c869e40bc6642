"""Writes a tiny Wan 2.1 text-to-video model: random weights from a fixed seed, a few MB.

ComfyUI detects and loads the file as it does a real one.  The weights are random but not shapeless:
the first block's self-attention looks at tokens nearby (its queries and keys share a direction, so
rotary positions alone make near keys score high), the second takes the wide surroundings away, and
the head predicts "noise minus that local mean".  So sampling turns noise into soft drifting clouds
instead of more noise, and attention is as local as in trained video models.
"""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file

HEAD_DIM = 128  # fixed by Wan: ComfyUI derives the number of heads from it
TEXT_DIM, FREQUENCY_DIM = 4096, 256
CHANNELS, PATCH = 16, (1, 2, 2)
PATCH_SIZE = CHANNELS * math.prod(PATCH)
# rotary pairs of one head along time, height, width
ROTARY_PAIRS = (22, 21, 21)

# Chosen by eye: how sharply blocks look nearby, how strongly they pull, which rotary frequencies
# (0 fastest, 1 slowest) carry the shared direction, and the size of the predicted step.
FOCUS = (1.4, 0.7)
PULL = (5.0, 1.0)
FREQUENCY_CENTRE, FREQUENCY_WIDTH = 0.18, 0.18
STEP = 0.6
NOISE = 0.02


class _Writer:
    def __init__(self, seed: int, dim: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.dim = dim
        self.weights: dict[str, torch.Tensor] = {}

    def random(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, generator=self.generator) * scale

    def orthonormal(self, columns: int) -> torch.Tensor:
        return torch.linalg.qr(self.random(self.dim, columns))[0]

    def linear(self, name: str, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.weights[f"{name}.weight"] = weight
        self.weights[f"{name}.bias"] = torch.zeros(weight.shape[0]) if bias is None else bias

    def random_linear(self, name: str, out: int, into: int, scale: float = NOISE) -> None:
        self.linear(name, self.random(out, into, scale=scale))

    def modulation(self, parts: int) -> torch.Tensor:
        return self.random(1, parts, self.dim, scale=0.3 * self.dim**-0.5)

    def shared_direction(self) -> torch.Tensor:
        """One vector per head for queries and keys alike, of unit mean square."""
        position = torch.cat([torch.arange(pairs) / pairs for pairs in ROTARY_PAIRS])
        size = torch.exp(-(((position - FREQUENCY_CENTRE) / FREQUENCY_WIDTH) ** 2))
        heads = []
        for _ in range(self.dim // HEAD_DIM):
            angle = self.random(HEAD_DIM // 2, scale=2 * math.pi)
            pair = torch.stack([size * angle.cos(), size * angle.sin()], dim=1)
            heads.append(pair.flatten())
        direction = torch.cat(heads)
        return direction / direction.square().mean().sqrt()


def tiny_wan(
    *, seed: int = 0, dim: int = 256, layers: int = 2, ffn: int = 512
) -> dict[str, torch.Tensor]:
    """The state dict; `dim` is a multiple of 128."""
    w = _Writer(seed, dim)
    patch = w.orthonormal(PATCH_SIZE)
    # latents of unit variance become tokens of unit variance, which LayerNorm leaves as they are
    embed = patch.reshape(dim, CHANNELS, *PATCH) * math.sqrt(dim / PATCH_SIZE)
    w.weights["patch_embedding.weight"] = embed
    w.weights["patch_embedding.bias"] = torch.zeros(dim)
    w.random_linear("text_embedding.0", dim, TEXT_DIM)
    w.random_linear("text_embedding.2", dim, dim, dim**-0.5)
    w.random_linear("time_embedding.0", dim, FREQUENCY_DIM)
    w.random_linear("time_embedding.2", dim, dim)
    w.random_linear("time_projection.1", dim * 6, dim)
    for index in range(layers):
        _block(w, index, patch, ffn)
    # the head's features are ordered (patch positions, channels), the embedding's the other way
    head = patch.reshape(dim, CHANNELS, *PATCH).permute(2, 3, 4, 1, 0).reshape(PATCH_SIZE, dim)
    w.linear("head.head", head * STEP)
    w.weights["head.modulation"] = w.modulation(2)
    return {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in w.weights.items()}


def _block(w: _Writer, index: int, patch: torch.Tensor, ffn: int) -> None:
    dim, p = w.dim, f"blocks.{index}."
    role = index % 2
    direction = w.shared_direction()
    for n in "qk":
        w.linear(f"{p}self_attn.{n}", w.random(dim, dim, scale=0.3 * dim**-0.5), direction.clone())
        w.weights[f"{p}self_attn.norm_{n}.weight"] = torch.full((dim,), FOCUS[role])
        w.random_linear(f"{p}cross_attn.{n}", dim, dim, dim**-0.5)
        w.weights[f"{p}cross_attn.norm_{n}.weight"] = torch.ones(dim)
    # values keep each patch's mean per channel; the output subtracts what attention averaged
    positions = math.prod(PATCH)
    patch_mean = torch.kron(torch.eye(CHANNELS), torch.full((positions, positions), 1 / positions))
    rotation = w.orthonormal(dim)
    w.linear(f"{p}self_attn.v", rotation @ patch @ patch_mean @ patch.T)
    w.linear(f"{p}self_attn.o", -PULL[role] * rotation.T)
    w.random_linear(f"{p}cross_attn.v", dim, dim, dim**-0.5)
    w.random_linear(f"{p}cross_attn.o", dim, dim, 0.05 * dim**-0.5)
    w.weights[f"{p}norm3.weight"], w.weights[f"{p}norm3.bias"] = torch.ones(dim), torch.zeros(dim)
    w.random_linear(f"{p}ffn.0", ffn, dim)
    w.random_linear(f"{p}ffn.2", dim, ffn)
    modulation = w.modulation(6)
    modulation[:, 2] += 1.0  # the gate of self-attention
    w.weights[f"{p}modulation"] = modulation


def write_tiny_wan(path: Path, **options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tiny_wan(**options), path)
    return path
