"""The GPU that ComfyUI samples on."""

from __future__ import annotations

import comfy.model_management
import torch


def this_gpu() -> str | None:
    """Its name as torch has it, the kind of device where torch has no name; None on a CPU."""
    device = comfy.model_management.get_torch_device()
    if device.type == "cpu":
        return None
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
