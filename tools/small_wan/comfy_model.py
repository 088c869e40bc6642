"""ComfyUI's own WanModel, imported from a ComfyUI tree: built, given first weights, read back."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path

import torch

from ..random_wan import HEAD_DIM, ROTARY_PAIRS
from .conditions import TEXT_DIM


def import_comfy(comfyui: Path):
    """Put ComfyUI on the path and import what training needs; it would parse our sys.argv."""
    if not (comfyui / "comfy" / "ldm" / "wan" / "model.py").is_file():
        raise FileNotFoundError(
            f"{comfyui} is no ComfyUI with Wan: comfy/ldm/wan/model.py is not there"
        )
    argv = sys.argv
    sys.argv = [argv[0], "--use-pytorch-cross-attention"]
    if not torch.cuda.is_available():
        sys.argv.append("--cpu")
    sys.path.insert(0, str(comfyui))
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.ldm.wan.model
        import comfy.ops
    finally:
        sys.argv = argv
    return comfy


def wan21_latent_statistics(comfyui: Path) -> tuple[torch.Tensor, torch.Tensor]:
    import_comfy(comfyui)
    from comfy.latent_formats import Wan21

    form = Wan21()
    return form.latents_mean, form.latents_std


def build(comfyui: Path, *, dim: int, layers: int, ffn: int, device: str, dtype: torch.dtype):
    """A WanModel with weights not yet set; the patch embedding stays float32, as in ComfyUI."""
    comfy = import_comfy(comfyui)
    if dim % HEAD_DIM:
        raise ValueError(f"dim is {dim}; it must be a multiple of {HEAD_DIM}")
    return comfy.ldm.wan.model.WanModel(
        model_type="t2v",
        dim=dim,
        ffn_dim=ffn,
        num_heads=dim // HEAD_DIM,
        num_layers=layers,
        text_dim=TEXT_DIM,
        device=device,
        dtype=dtype,
        operations=comfy.ops.disable_weight_init,
    )


@contextlib.contextmanager
def gradients_wanted():
    """Newer ComfyUIs take operations without a derivative unless they are told of a training."""
    import comfy.model_management as state

    before = getattr(state, "in_training", False)
    state.in_training = True
    try:
        yield
    finally:
        state.in_training = before


def first_weights(model: torch.nn.Module, seed: int, *, locality: float) -> dict[str, torch.Tensor]:
    """Float32 weights by parameter name.

    locality: how strongly queries and keys of a head share a direction at first.  Through rotary
    positions it makes near keys score high from the start; training changes it at will.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(shape, scale: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * scale

    weights = {}
    for name, parameter in model.named_parameters():
        shape = parameter.shape
        part, kind = name.rsplit(".", 1)
        if kind == "modulation":
            value = torch.zeros(shape)
            if shape[1] == 6:  # both gates open
                value[:, [2, 5]] = 1.0
        elif ".norm" in part:
            value = torch.ones(shape) if kind == "weight" else torch.zeros(shape)
        elif kind == "bias" or part == "head.head":
            value = torch.zeros(shape)
        elif part.endswith((".o", "ffn.2")):
            value = torch.zeros(shape)  # every branch starts silent
        elif part.startswith("time_"):
            value = normal(shape, 0.02)
        else:
            value = normal(shape, math.prod(shape[1:]) ** -0.5)
        weights[name] = value
    for index in range(len(model.blocks)):
        heads = [_direction(generator) for _ in range(model.num_heads)]
        for side in "qk":
            bias = weights[f"blocks.{index}.self_attn.{side}.bias"]
            bias += locality * torch.cat(heads)
    return weights


def _direction(generator: torch.Generator) -> torch.Tensor:
    """[HEAD_DIM] of unit mean square, its strength spread over the middling rotary frequencies."""
    position = torch.cat([torch.arange(pairs) / pairs for pairs in ROTARY_PAIRS])
    # a centre of its own for every head, so that they differ in reach
    centre = 0.1 + 0.2 * torch.rand(1, generator=generator)
    size = torch.exp(-(((position - centre) / 0.18) ** 2))
    angle = torch.rand(HEAD_DIM // 2, generator=generator) * 2 * math.pi
    pair = torch.stack([size * angle.cos(), size * angle.sin()], dim=1).flatten()
    return pair / pair.square().mean().sqrt()
