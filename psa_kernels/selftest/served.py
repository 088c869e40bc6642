"""Which calls the kernels take on this machine, and at which precision."""

from __future__ import annotations

import torch

from ..capability import Call, Implementation, refusal
from ..config import PSAConfig
from ..implementations import registered, table

HEAD_DIM, DTYPE = 128, torch.bfloat16  # of most video models


def served_here(device: torch.device) -> str:
    """Whether each implementation serves an ordinary call, in words."""
    return "; ".join(f"{one.name}: {_of_one(one, device)}" for one in registered())


def rows() -> tuple[str, ...]:
    """Every row of the tables, for the verbose report."""
    return tuple(f"{name}: {of}: {allowed}" for name, of, allowed in table())


def _of_one(one: Implementation, device: torch.device) -> str:
    def call(**settings: str) -> Call:
        return Call.small(device, DTYPE, HEAD_DIM, PSAConfig(**settings))

    if reason := refusal(one.limits, call()):
        return f"none, {reason}"
    said = [f"calls of {HEAD_DIM} channels in bfloat16"]
    for precision in one.precisions:
        for asked in (precision.value, "auto"):
            value, reason = precision.settled(call(**{precision.field: asked}))
            why = f" ({reason})" if reason else ""
            said.append(f"{precision.field} {asked} computes {value}{why}")
    return ", ".join(said)
