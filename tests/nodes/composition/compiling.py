"""ComfyUI's compile nodes, and what torch.compile made of a model."""

import sys

import torch


def compiled(model):
    """backend="eager" traces as Inductor would, in seconds."""
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    return TorchCompileModel.execute(model, "eager")[0]


def compiled_by(model, backend="eager", keys=("diffusion_model",), **settings):
    """Through the helper that ComfyUI gives to packs' compile nodes."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    model = model.clone()
    set_torch_compile_wrapper(model=model, backend=backend, keys=list(keys), **settings)
    return model


def compiled_without_guards(model, backend="eager", **settings):
    """As the node of newer versions does it: whatever an override decides, nothing recompiles."""
    keep = {"guard_filter_fn": lambda guards: ["transformer_options" not in g.name for g in guards]}
    return compiled_by(model, backend, options=keep, **settings)


def compiled_blocks(model, compiling=compiled_by):
    """Blocks compiled one by one, as KJ's nodes do: they all share one code."""
    count = len(model.model.diffusion_model.blocks)
    return compiling(model, keys=[f"diffusion_model.blocks.{i}" for i in range(count)])


def forget():
    """Drops all graphs, and what was counted of them."""
    if "torch._dynamo" in sys.modules:  # else there are none, and importing it takes seconds
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def breaks():
    return sum(torch._dynamo.utils.counters["graph_break"].values())
