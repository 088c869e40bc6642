"""ComfyUI's own video model classes, tiny and with random weights, loaded by its own loader.

Weights keep activations at unit variance, so that attention is far from uniform. A class that this
ComfyUI does not have skips the test.
"""

import importlib
import inspect
import json
import math
import types

import pytest
import torch

from .sampling import Bench

TEXT_WIDTH = 64
WAN = {"dim": 128, "ffn_dim": 128, "num_heads": 1, "num_layers": 2, "text_dim": 4096}
I2V = {"model_type": "i2v", "in_dim": 36}
COGVIDEOX = {
    "num_attention_heads": 2, "attention_head_dim": 64, "in_channels": 16, "out_channels": 16,
    "time_embed_dim": 64, "text_embed_dim": TEXT_WIDTH, "num_layers": 2,
    "use_rotary_positional_embeddings": True,
}  # fmt: skip


def wan(kind="WanModel", module="model", told=None, **changes):
    return load(f"comfy.ldm.wan.{module}", kind, {**WAN, **changes}, told)


def cogvideox(**changes):
    return load("comfy.ldm.cogvideo.model", "CogVideoXTransformer3DModel", COGVIDEOX | changes)


def load(module, kind, settings, told=None):
    """A ModelPatcher of one model class, through ComfyUI's detection and loading of weights.

    told  what a checkpoint of this model says of itself, where weights do not tell enough
    """
    import comfy.ops
    import comfy.sd

    try:
        found = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError):
        pytest.skip(f"this ComfyUI has no {kind}")
    operations = comfy.ops.disable_weight_init
    model = found(device="cpu", dtype=torch.float32, operations=operations, **settings)
    said = {"metadata": {"config": json.dumps({"transformer": told})}} if told else {}
    patcher = comfy.sd.load_diffusion_model_state_dict(random_weights(model), **said)
    assert type(patcher.model.diffusion_model) is found
    return patcher


def random_weights(model):
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, old in model.state_dict().items():
        if old.dim() < 2:
            scales = ("norm" in name or name.endswith("weight")) and not name.endswith("bias")
            weights[name] = torch.ones(old.shape) if scales else torch.zeros(old.shape)
        else:
            fan_in = math.prod(old.shape[1:]) if "modulation" not in name else old.shape[-1]
            random = torch.randn(old.shape, generator=generator)
            weights[name] = random * fan_in**-0.5
    return weights


def takes(model, argument):
    """Whether this version of the model class knows an argument of its forward pass."""
    source = inspect.getsource(type(model.model.diffusion_model))
    return argument in source


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def clip_vision(tokens=257):
    return types.SimpleNamespace(penultimate_hidden_states=noise(1, tokens, 1280, seed=4))


class ZooBench(Bench):
    """A bench without a model of its own."""

    def __init__(self):
        self.model, self.reports = None, []
