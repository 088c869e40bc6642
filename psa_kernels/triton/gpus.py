"""What a GPU reports about itself. Importing this needs no Triton."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

OLDEST_CAPABILITY = (8, 0)  # bf16 and asynchronous copies


@lru_cache(maxsize=16)
def described(device: torch.device) -> dict[str, Any]:
    """{"gcn": AMD's name of the architecture} or {"capability": NVIDIA's compute capability}."""
    if torch.version.hip:
        return {"gcn": torch.cuda.get_device_properties(device).gcnArchName}
    return {"capability": torch.cuda.get_device_capability(device)}


def out_of_memory(error: Exception) -> bool:
    """Whether `error` says that a GPU's memory is full; Triton has no type for it."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def too_old(*, gcn: str = "", capability: tuple[int, int] = (0, 0)) -> bool:
    """Whether a GPU, as `described`, is too old. AMD's have no compute capability."""
    return not gcn and capability < OLDEST_CAPABILITY
