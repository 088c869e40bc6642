"""Which settings the kernels take here: the table's, or what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .. import measured
from ..triton import tuning

HEAD_DIMS = (64, 128, 256)
DTYPE = torch.bfloat16  # float16 takes what was measured for it


def settings_in_use(device: torch.device) -> str:
    """In words: where the settings of each head size are from, and what measuring brought."""
    row = f"the table's for {tuning.architecture(device)}"
    here, ignored = {}, ""
    for dim in HEAD_DIMS:
        found = measured.find(device, dim, DTYPE)
        if found.entry:
            here[dim] = _measured(found.entry)
        elif found.ignored:
            here[dim], ignored = row, found.ignored
            if found.stale:
                here[dim] += f" (measured before: {_gain(found.stale)})"
        else:
            here[dim] = row
    if len(set(here.values())) == 1:
        (said,) = set(here.values())
    else:
        said = "; ".join(f"heads of {dim}: {text}" for dim, text in here.items())
    if ignored:
        return f"{said}. {ignored}"
    if all(text == row for text in here.values()):
        return f"{said}. Nothing was measured on this GPU; to do so: {measured.HOW}"
    return f"{said}. From {measured.file_in_use()}"


def _measured(entry: Mapping[str, Any]) -> str:
    return f"measured here on {entry['date']}, {_gain(entry)}"


def _gain(entry: Mapping[str, Any]) -> str:
    gains = ", ".join(f"{name} {x:.2f}" for name, x in entry["gain"].items())
    return f"times as fast as the table's: {gains}"
