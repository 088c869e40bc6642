"""ComfyUI's nodes, and LoRA files for the tiny Wan."""

import importlib

import pytest
import torch
from safetensors.torch import save_file

from .compiling import forget

RANK = 4


@pytest.fixture(scope="session", autouse=True)
def comfy_nodes(comfy_inproc):
    """First of all imports: ComfyUI's own top-level module `nodes`."""
    comfy_inproc.load_pack()
    return importlib.import_module("nodes")


@pytest.fixture
def fresh_compiler():
    forget()
    yield
    forget()


@pytest.fixture(scope="session")
def lora(comfy_inproc, comfy_nodes):
    """lora(strength, seed=0) -> the node LoraLoaderModelOnly, as model -> model."""
    folder = comfy_inproc.base / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)

    def node(strength, seed=0):
        save_file(lora_weights(seed), folder / f"tiny_{seed}.safetensors")
        loader = comfy_nodes.LoraLoaderModelOnly()
        return lambda model: loader.load_lora_model_only(
            model, f"tiny_{seed}.safetensors", strength
        )[0]

    return node


def lora_weights(seed):
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for block in (0, 1):
        for name in "qkvo":
            key = f"diffusion_model.blocks.{block}.self_attn.{name}"
            weights[f"{key}.lora_A.weight"] = torch.randn(RANK, 256, generator=generator) / 16
            weights[f"{key}.lora_B.weight"] = torch.randn(256, RANK, generator=generator) / 2
    return weights
