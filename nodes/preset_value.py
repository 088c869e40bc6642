"""What comes along a PSA_PRESET link to a node's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..psa_engines.core.preset_value import PresetValue
from ..psa_kernels.config.issues import shown


def checked(name: str, value: Any) -> PresetValue:
    """The preset that came to the input `name`. Raises `ValueError` for anything else.

    ComfyUI does not check what comes from a node without fixed types, or from a script.
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
        f"{name}: found {found}. Fix: link a preset, from PSA Preset Loader or PSA Preset Editor"
    )


def check_link(inputs: Mapping[str, Any], name: str) -> bool | str:
    """What a node's `validate_inputs` answers about such an input: True, or what is wrong."""
    if isinstance(inputs.get(name, []), list):
        return True
    try:
        checked(name, inputs[name])
    except ValueError as error:
        return str(error)
    return True
