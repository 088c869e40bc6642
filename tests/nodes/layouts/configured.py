"""Model classes of ComfyUI's at any small size, without its detection of known sizes.

`load` of zoo.py goes through the detection, which knows many families by the width or the number
of heads of their published weights. Here its answer is written out instead; the rest is the same.
"""

import importlib

import pytest
import torch

from ..zoo import random_weights


def configured(kind, **unet_config):
    """A ModelPatcher of `comfy.supported_models.<kind>` with random weights."""
    import comfy.model_patcher
    import comfy.supported_models

    found = getattr(comfy.supported_models, kind, None)
    if found is None:
        pytest.skip(f"this ComfyUI has no {kind}")
    config = found(unet_config)
    config.unet_config |= unet_config  # over what the class adds for its published weights
    config.set_inference_dtype(torch.float32, None)
    device = torch.device("cpu")
    model = config.get_model({}, "", device=device)
    weights = random_weights(model.diffusion_model)
    model.load_model_weights(weights, "")
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)


def parameters(module, kind, values):
    """Those of `values` that a dataclass of this ComfyUI's knows."""
    known = getattr(importlib.import_module(module), kind).__dataclass_fields__
    return {name: value for name, value in values.items() if name in known}
