"""A configuration and the family it was made for: what ComfyUI's PSA_PRESET links carry."""

from __future__ import annotations

from dataclasses import dataclass

from ..ground import PSAConfig


@dataclass(frozen=True)
class PresetValue:
    """`family` and `name` are for messages; `text_length` and `video_scale` are the family's
    expectations, checked against the model but never used for it; None where there is no family,
    or where the text varies.

    video_scale: pixels per token as (width, height, frames).
    """

    config: PSAConfig
    family: str = ""
    name: str = ""
    text_length: int | None = None
    video_scale: tuple[int, int, int] | None = None

    @property
    def label(self) -> str:
        return f"{self.family}/{self.name}" if self.family else (self.name or "edited preset")
