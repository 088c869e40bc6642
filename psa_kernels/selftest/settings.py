"""Which settings the kernels run with here: the table's, or those that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .. import measured
from ..capability import Call, refusal
from ..config import PSAConfig
from ..layout import row_width
from ..triton import hopper, tuning
from ..triton.support import INT8

DTYPE = torch.bfloat16  # float16 uses what was measured for it
PRECISIONS = {"half": "half precision", "int8": "int8"}


def settings_in_use(device: torch.device, head_dim: int) -> str:
    """The settings of both kernels, where they are from, and what measuring brought."""
    width = row_width(head_dim)
    int8 = not refusal(INT8.limits, Call.small(device, DTYPE, head_dim, PSAConfig()))
    precisions = ["half", "int8"] if int8 else ["half"]
    said = [
        f"attention in {PRECISIONS[qk]} {tuning.attend(device, DTYPE, width, qk)}"
        for qk in precisions
    ]
    on_hopper = width == hopper.WIDTH and tuning.architecture(device) == "sm_90"
    if on_hopper and (lacking := hopper.lacking(device)):
        said.append(lacking)
    said.append(f"importance {tuning.estimate(device, DTYPE, width)}")
    if int8:
        auto = tuning.measured_qk(device, head_dim, DTYPE)
        said.append(f"qk: auto runs in {PRECISIONS[auto]}")
    summed = [
        PRECISIONS[qk] for qk in precisions
        if tuning.measured_sums(device, head_dim, DTYPE, qk) == "float16"
    ]  # fmt: skip
    if summed:
        said.append(f"value_sums: auto runs in float16 where qk is {' or '.join(summed)}")
    return f"{_source(device, head_dim)}: {'; '.join(said)}"


def measured_settings(device: torch.device) -> str:
    """Whether a measurement is in use, and how to make one."""
    found = [measured.find(device, dim, DTYPE) for dim in measured.HEAD_DIMS]
    ignored = next((one.ignored for one in found if one.ignored), "")
    if ignored:
        return ignored
    missing = [dim for dim, one in zip(measured.HEAD_DIMS, found, strict=True) if not one.entry]
    if not missing:
        return f"all from {measured.file_in_use()}"
    sizes = "any size" if len(missing) == len(found) else " and ".join(map(str, missing))
    said = f"none for heads of {sizes}. Measuring takes up to 90 s for one size and says what it "
    said += f"brings: {measured.HOW}"
    return said if len(missing) == len(found) else f"from {measured.file_in_use()}; {said}"


def _source(device: torch.device, head_dim: int) -> str:
    found = measured.find(device, head_dim, DTYPE)
    if found.entry:
        return f"measured here on {found.entry['date']} ({_gain(found.entry)})"
    row = f"the table's for {tuning.architecture(device)}"
    return f"{row} (measured before: {_gain(found.stale)})" if found.stale else row


def _gain(entry: Mapping[str, Any]) -> str:
    gains = ", ".join(f"{name} {x:.2f}" for name, x in entry["gain"].items())
    return f"times as fast as the table's: {gains}"
