"""What travels along a PSA_PRESET link: a configuration and the family it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..psa_kernels.config import PSAConfig
from ..psa_kernels.config.issues import shown


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


def checked(name: str, value: Any) -> PresetValue:
    """The preset that came to the input `name`. Raises `ValueError` for anything else.

    ComfyUI lets anything through that a node of no fixed type hands on, or a script writes there.
    """
    if isinstance(value, PresetValue):
        return value
    if value is None:
        found = "nothing"
    elif isinstance(value, str):
        found = f"the text {shown(value)}"
    else:
        found = f"something of type {type(value).__name__}"
    raise ValueError(
        f"{name}: found {found}; a preset comes by a link, from PSA Preset Loader or PSA Preset "
        "Editor"
    )


def check_link(inputs: Mapping[str, Any], name: str) -> bool | str:
    """What a node's `validate_inputs` answers of such an input: True, or what is wrong."""
    if isinstance(inputs.get(name, []), list):
        return True
    try:
        checked(name, inputs[name])
    except ValueError as error:
        return str(error)
    return True
