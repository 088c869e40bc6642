"""Contradictions between a preset's family and the model on which it is used."""

from __future__ import annotations

from typing import Any

from ....psa_engines.core.preset_value import PresetValue
from ....psa_engines.core.token_grid import TokenGrid


def contradictions(preset: PresetValue, grid: TokenGrid, latent_format: Any) -> list[str]:
    """Where the family that a preset was made for differs from the model it is used on."""
    found = []
    if preset.text_length is not None and preset.text_length != grid.text:
        found.append(f"made for {preset.text_length} text tokens, this model has {grid.text}")
    # Older ComfyUI versions do not say what a latent pixel spans.
    across = getattr(latent_format, "spacial_downscale_ratio", None)
    along = getattr(latent_format, "temporal_downscale_ratio", None)
    if preset.video_scale is not None and across and along:
        frames, height, width = grid.patch
        scale = (across * width, across * height, along * frames)
        if tuple(preset.video_scale) != scale:
            found.append(
                f"made for tokens of {preset.video_scale} pixels (width, height, frames), this "
                f"model's span {scale}"
            )
    return found
