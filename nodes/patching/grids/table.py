"""Model class -> the function that reads its layout."""

from __future__ import annotations

from collections.abc import Callable

from .cogvideox import cogvideox
from .token_grid import ModelCall, TokenGrid
from .wan import wan

READERS: dict[str, Callable[[ModelCall], TokenGrid | None]] = {
    "comfy.ldm.wan.model.WanModel": wan,
    "comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel": cogvideox,
}


def token_grid(call: ModelCall) -> TokenGrid | None:
    """The layout of this call's self-attention, or None where it is unknown."""
    kind = type(call.diffusion_model)
    reader = READERS.get(f"{kind.__module__}.{kind.__qualname__}")
    return None if reader is None else reader(call)
