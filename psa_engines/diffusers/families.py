"""The transformers of diffusers that PSA knows, by class name: where their self-attention is, and
where the video is among its tokens. Source: diffusers 0.42.1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..core.token_grid import TokenGrid

# the arguments of one call of a transformer, by name
Call = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """attentions  (transformer block, its self-attention over the video) of a transformer
    grid        the token grid of one call, None if the call does not say
    presets     the preset family for a transformer's configuration, None if that is not certain
    padded      whether a mask hides the last tokens of every call; `grid` leaves those out
    """

    attentions: Callable[[torch.nn.Module], Iterator[tuple[int, torch.nn.Module]]]
    grid: Callable[[torch.nn.Module, Call], TokenGrid | None]
    presets: Callable[[Any], str | None]
    padded: bool = False


def _of(blocks: str, attention: str) -> Callable:
    def found(model: torch.nn.Module) -> Iterator[tuple[int, torch.nn.Module]]:
        for i, block in enumerate(getattr(model, blocks)):
            yield i, block.get_submodule(attention)

    return found


def _vace(model: torch.nn.Module) -> Iterator[tuple[int, torch.nn.Module]]:
    """A block over the control video has the number of the main block that it belongs to."""
    yield from _of("blocks", "attn1")(model)
    for number, block in zip(model.config.vace_layers, model.vace_blocks, strict=True):
        yield number, block.attn1


def _hunyuan(model: torch.nn.Module) -> Iterator[tuple[int, torch.nn.Module]]:
    """Single-stream blocks are numbered after the double-stream ones."""
    yield from _of("transformer_blocks", "attn")(model)
    first = len(model.transformer_blocks)
    for i, attention in _of("single_transformer_blocks", "attn")(model):
        yield first + i, attention


def _wan_grid(model: torch.nn.Module, call: Call) -> TokenGrid:
    """The video alone; the model cuts off what does not fill a patch."""
    patch = tuple(model.config.patch_size)
    sizes = call["hidden_states"].shape[2:]
    return TokenGrid(tuple(s // p for s, p in zip(sizes, patch, strict=True)), patch)


def _cogvideox_grid(model: torch.nn.Module, call: Call) -> TokenGrid:
    """Text, then the video; the latent is `[B, frames, C, height, width]`."""
    _, frames, _, height, width = call["hidden_states"].shape
    p, p_t = model.config.patch_size, model.config.patch_size_t or 1
    text = call["encoder_hidden_states"].shape[1]
    return TokenGrid(
        (-(-frames // p_t), height // p, width // p), (p_t, p, p), before=text, text=text
    )


def _ltx_grid(model: torch.nn.Module, call: Call) -> TokenGrid | None:
    """The video alone, in a packed latent. If coordinates replace its size, as with conditioning
    frames, tokens may be anything."""
    sizes = tuple(call.get(name) for name in ("num_frames", "height", "width"))
    if None in sizes or call.get("video_coords") is not None:
        return None
    patch = (model.config.patch_size_t, model.config.patch_size, model.config.patch_size)
    return TokenGrid(sizes, patch)


def _hunyuan_grid(model: torch.nn.Module, call: Call) -> TokenGrid | None:
    """The video, then the text without its padding. None for a batch of several text lengths."""
    p, p_t = model.config.patch_size, model.config.patch_size_t
    sizes = zip(call["hidden_states"].shape[2:], (p_t, p, p), strict=True)
    text = _seen_text(call)
    if text is None:
        return None
    return TokenGrid(tuple(s // patch for s, patch in sizes), (p_t, p, p), after=text, text=text)


def _seen_text(call: Call) -> int | None:
    """How many text tokens a call's mask leaves visible, None if that differs within the batch.

    Waits for the GPU.
    """
    lengths = set(call["encoder_attention_mask"].sum(dim=1, dtype=torch.int).tolist())
    return lengths.pop() if len(lengths) == 1 else None


def _wan_presets(config: Any) -> str | None:
    layers, width = config.num_layers, config.num_attention_heads * config.attention_head_dim
    # a single expert of Wan 2.2 looks the same
    known = {(40, 5120): "Wan2.1_14b", (30, 1536): "Wan2.1_1.3b", (30, 3072): "Wan2.2_5B"}
    return known.get((layers, width))


def _cogvideox_presets(config: Any) -> str | None:
    if config.num_layers != 42:
        return None
    return "CogVideo1.5_5b" if config.patch_size_t else "CogVideo_5b"


FAMILIES = {
    "WanTransformer3DModel": Family(_of("blocks", "attn1"), _wan_grid, _wan_presets),
    "WanVACETransformer3DModel": Family(_vace, _wan_grid, _wan_presets),
    "CogVideoXTransformer3DModel": Family(
        _of("transformer_blocks", "attn1"), _cogvideox_grid, _cogvideox_presets
    ),
    "LTXVideoTransformer3DModel": Family(
        _of("transformer_blocks", "attn1"), _ltx_grid, lambda config: "LTX-Video"
    ),
    "HunyuanVideoTransformer3DModel": Family(
        _hunyuan, _hunyuan_grid, lambda config: "HunyuanVideo", padded=True
    ),
}


def family_of(model: torch.nn.Module) -> Family | None:
    """That of the model's class, or of a class that it derives from."""
    names = (kind.__name__ for kind in type(model).__mro__)
    return next((FAMILIES[name] for name in names if name in FAMILIES), None)


def preset_family(models: list[torch.nn.Module]) -> str | None:
    """The preset family of a pipeline's transformers, None if that is not certain."""
    found = {family.presets(m.config) for m in models if (family := family_of(m))}
    if len(models) == 2 and found == {"Wan2.1_14b"}:
        return "Wan2.2_A14B"
    return found.pop() if len(found) == 1 else None
