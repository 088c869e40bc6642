"""ComfyUI's compile nodes, and what torch.compile made of a model."""

import torch


def compiled(model):
    """backend="eager" traces as Inductor would, in seconds."""
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    return TorchCompileModel.execute(model, "eager")[0]


def compiled_without_guards(model, backend="eager", keys=("diffusion_model",)):
    """As the node of newer versions does it: whatever an override decides, nothing recompiles."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    model = model.clone()
    keep = {"guard_filter_fn": lambda guards: ["transformer_options" not in g.name for g in guards]}
    set_torch_compile_wrapper(model=model, backend=backend, options=keep, keys=list(keys))
    return model


def compiled_blocks(model, without_guards=False):
    """Blocks compiled one by one, as KJ's nodes do: they all share one code."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    keys = [f"diffusion_model.blocks.{i}" for i in range(len(model.model.diffusion_model.blocks))]
    if without_guards:
        return compiled_without_guards(model, keys=keys)
    model = model.clone()
    set_torch_compile_wrapper(model=model, backend="eager", keys=keys)
    return model


def forget():
    """Drops all graphs."""
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def breaks():
    return sum(torch._dynamo.utils.counters["graph_break"].values())
