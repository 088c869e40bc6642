"""The attention on Hopper GPUs: which calls it serves. Importing this needs no Triton.

Gluon is experimental: its names change between versions of Triton. So only versions that compile
the kernel are used: it ran with 3.6, and what 3.7 and 3.8 make of it was read. Where it does not
compile in spite of that it is given up, with a word, for `attend_kernel`.
"""

from __future__ import annotations

import logging
import threading
from functools import lru_cache

import torch

from ...layout import Layout, row_width
from ..gpus import described
from ..versions import older, series

log = logging.getLogger("PSA")

OLDEST, NEWEST = "3.6", "3.8"  # Triton
BLOCK = WIDTH = 128  # queries and keys of a block, channels of a stored row
_given_up: list[str] = []
_giving_up = threading.Lock()


def lacking(device: torch.device) -> str:
    """Why the kernel does not run on `device`; "" if it does, and on GPUs that are no Hopper."""
    if not is_hopper(device):
        return ""
    return _given_up[0] if _given_up else _lacking(device)


def serves(layout: Layout, half_sums: bool, device: torch.device) -> bool:
    """Whether the kernel is written for such blocks, heads and masks, and runs here."""
    return (
        layout.m == layout.n == BLOCK
        and row_width(layout.head_dim) == WIDTH
        and layout.k_blocks > 0
        and not (layout.causal or half_sums)
        and is_hopper(device)
        and not lacking(device)
    )


def give_up(error: Exception) -> None:
    """The kernel is not tried again in this process, on any GPU."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    with _giving_up:
        if _given_up:
            return
        _given_up.append(f"the attention for Hopper GPUs does not run here ({reason})")
    log.warning("%s; the one for all GPUs takes its place, which is slower.", _given_up[0])


def is_hopper(device: torch.device) -> bool:
    return device.type == "cuda" and described(device).get("capability") == (9, 0)


@lru_cache(maxsize=16)
def _lacking(device: torch.device) -> str:
    import triton

    found = series(triton.__version__)
    if older(found, OLDEST) or older(NEWEST, found):
        return f"the attention for Hopper GPUs needs Triton {OLDEST} to {NEWEST}, this is {found}"
    try:
        from . import launch  # noqa: F401 - whether it can be imported
    except Exception as error:  # an experimental package can raise anything
        return f"Gluon does not import: {type(error).__name__}: {error}"
    return ""
