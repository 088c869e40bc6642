"""Wan models of full size with random weights.

The time of dense attention and of presets with quotas does not depend on the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

TEXT_TOKENS, TEXT_DIM = 512, 4096


@dataclass(frozen=True)
class Size:
    """As in the config.json of the published weights."""

    dim: int
    heads: int
    layers: int
    ffn: int


SIZES = {"14b": Size(5120, 40, 40, 13824), "1.3b": Size(1536, 12, 30, 8960)}

# latent (frames, height, width) of 81 frames at 1280 x 720 and 832 x 480
VIDEOS = {"720p": (21, 90, 160), "480p": (21, 60, 104)}
# A rehearsal: a CPU samples it in a second, and its times mean nothing
SMALL, SMALL_VIDEO = Size(dim=256, heads=2, layers=2, ffn=512), (3, 16, 16)


def load(size: Size, device: torch.device, dtype: torch.dtype | None = None):
    """The `ModelPatcher` of a random Wan 2.1 text-to-video model, by ComfyUI's loader.

    The weights are drawn on `device`, where that takes a second; ComfyUI puts them where it wants,
    and chooses the dtype that the model runs in where `dtype` leaves it free.
    """
    import comfy.ldm.wan.model
    import comfy.ops
    import comfy.sd

    shapes = comfy.ldm.wan.model.WanModel(
        dim=size.dim, ffn_dim=size.ffn, num_heads=size.heads, num_layers=size.layers,
        device="meta", dtype=torch.bfloat16, operations=comfy.ops.disable_weight_init,
    ).state_dict()  # fmt: skip
    generator = torch.Generator(device).manual_seed(0)
    weights = {name: _random(name, old.shape, generator) for name, old in shapes.items()}
    options = {} if dtype is None else {"dtype": dtype}
    return comfy.sd.load_diffusion_model_state_dict(weights, model_options=options)


def unload() -> None:
    """Gives the memory of all loaded models back."""
    from comfy.model_management import unload_all_models

    unload_all_models()


def _random(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    kind = {"device": generator.device, "dtype": torch.bfloat16}
    if len(shape) < 2:
        scale = "norm" in name and name.endswith("weight")
        return torch.ones(shape, **kind) if scale else torch.zeros(shape, **kind)
    fan_in = shape[-1] if "modulation" in name else math.prod(shape[1:])
    return torch.randn(shape, generator=generator, **kind) * fan_in**-0.5


def text(seed: int) -> list:
    """Conditioning as nodes pass it."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, TEXT_TOKENS, TEXT_DIM, generator=generator), {}]]


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def tokens(video: tuple[int, int, int]) -> int:
    frames, height, width = video
    return frames * -(-height // 2) * -(-width // 2)
