"""LoRA, fp8 and quantised weights: PSA has nothing to do with where q, k and v come from."""

import pytest
import torch

from psa_pack.tools import random_wan

from ..sampling import OVERRIDE, ROUNDING, sparse_config
from .beside import check_beside, check_picture, covers, in_both_orders, together

STEPS = 2
SPARSE = STEPS * 2


@covers("LoRA")
@in_both_orders
def test_lora(bench, lora, order):
    check_beside(bench, lora(1.0), order, sparse=SPARSE, steps=STEPS)


@covers("LoRA")
@in_both_orders
def test_another_lora_from_run_to_run(bench, lora, order):
    """What a prompt queue does: the same patch, the LoRA's strength or file changed."""
    config = sparse_config(rearrange_method="SemanticAware")
    settings = [(1.0, 0), (0.5, 0), (1.0, 1), (0.0, 0)]
    fresh = [
        bench.sample(together(bench, lora(*each), order, config), steps=STEPS) for each in settings
    ]
    for i, expected in enumerate(fresh):
        assert not any(torch.equal(expected, other) for other in fresh[:i])
    for each, expected in reversed(list(zip(settings, fresh, strict=True))):
        out = bench.sample(together(bench, lora(*each), order, config), steps=STEPS)
        assert torch.equal(out, expected)
    without = bench.sample(bench.patch(config), steps=STEPS)
    assert torch.equal(without, fresh[-1])


@covers("fp8 weights")
@pytest.mark.parametrize("dtype", ["fp8_e4m3fn", "fp8_e5m2"])
def test_fp8_weights(bench, comfy_inproc, comfy_nodes, dtype):
    """UNETLoader's weight_dtype."""
    folder = comfy_inproc.base / "models" / "diffusion_models"
    random_wan.write_tiny_wan(folder / "tiny_fp8.safetensors")
    (model,) = comfy_nodes.UNETLoader().load_unet("tiny_fp8.safetensors", dtype)
    stored = {w.dtype for w in model.model.diffusion_model.parameters()}
    assert getattr(torch, dtype.replace("fp8", "float8")) in stored
    whole = bench.sample(steps=STEPS)
    assert not torch.equal(bench.sample(model, steps=STEPS), whole)
    check_model(bench, model)


# of the largest value: 0.6% and, with eight times the rounding, 6% were seen; sparse it is 40%
HALF = {"float16": 2e-2, "bfloat16": 0.15}


@pytest.mark.parametrize("dtype", HALF)
def test_a_model_that_computes_in_half_precision(bench, monkeypatch, dtype):
    """As on a GPU. On a CPU ComfyUI computes in float32, whatever its flags say of the weights."""
    import comfy.model_management
    import comfy.sd

    for name, own in (("should_use_fp16", "float16"), ("should_use_bf16", "bfloat16")):
        monkeypatch.setattr(comfy.model_management, name, lambda *_, own=own, **__: own == dtype)
    model = comfy.sd.load_diffusion_model_state_dict(random_wan.tiny_wan())
    seen = set()

    def dtypes(func, q, k, v, *args, **kwargs):
        seen.update(x.dtype for x in (q, k, v))
        return func(q, k, v, *args, **kwargs)

    watched = model.clone()
    watched.model_options["transformer_options"][OVERRIDE] = dtypes
    bench.sample(watched, steps=1)
    assert seen == {getattr(torch, dtype)}

    check_model(bench, model, rounding=HALF[dtype])


def check_model(bench, model, **options):
    return check_picture(
        bench, model, lambda config: bench.patch(config, model=model), sparse=SPARSE, steps=STEPS,
        **options,
    )  # fmt: skip


def quantised_operations():
    """As GGUF loaders do it: a Linear that holds integers and dequantises for every call."""
    import comfy.ops

    class Operations(comfy.ops.manual_cast):
        class Linear(comfy.ops.manual_cast.Linear):
            def _load_from_state_dict(self, state_dict, prefix, *args):
                weight = state_dict.pop(f"{prefix}weight").float()
                self.step = weight.abs().amax(1, keepdim=True) / 7
                self.whole_numbers = (weight / self.step).round().to(torch.int8)
                self.weight = None
                bias = state_dict.pop(f"{prefix}bias", None)
                self.bias = None if bias is None else torch.nn.Parameter(bias, requires_grad=False)

            def forward(self, x):
                # ComfyUI moves neither: they are no parameters
                weight = (self.whole_numbers.to(x.device) * self.step.to(x.device)).to(x.dtype)
                bias = None if self.bias is None else self.bias.to(x)
                return torch.nn.functional.linear(x, weight, bias)

    return Operations


@covers("quantised weights")
def test_weights_that_are_dequantised_for_each_call(bench):
    import comfy.model_patcher
    import comfy.sd

    model = comfy.sd.load_diffusion_model_state_dict(
        random_wan.tiny_wan(), model_options={"custom_operations": quantised_operations()}
    )
    linear = model.model.diffusion_model.blocks[0].self_attn.q
    assert linear.weight is None and linear.whole_numbers.dtype == torch.int8

    class QuantisedPatcher(comfy.model_patcher.ModelPatcher):
        """GGUF loaders put a patcher of their own around it."""

    model.__class__ = QuantisedPatcher
    assert type(bench.patch(model=model)) is type(model.clone())
    check_model(bench, model)


@covers("partly loaded models")
@in_both_orders
def test_a_partially_loaded_model(bench, lora, monkeypatch, order):
    """What a full card gives: weights stay offloaded and are cast, and patched, for every call."""
    import comfy.model_management
    import comfy.model_patcher

    node = lora(1.0)
    whole = bench.sample(node(bench.model), steps=STEPS)
    load = comfy.model_patcher.ModelPatcher.load

    def one_byte_fits(self, device_to=None, *args, **kwargs):
        return load(self, device_to, lowvram_model_memory=1, full_load=False)

    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "load", one_byte_fits)
    comfy.model_management.unload_all_models()
    check_beside(bench, node, order, sparse=SPARSE, changes=False, steps=STEPS)
    assert bench.model.model.model_lowvram
    # the weights are the same, patched in another place
    difference = (bench.sample(node(bench.model), steps=STEPS) - whole).abs().max()
    assert difference < ROUNDING * whole.abs().max()
    monkeypatch.undo()
    comfy.model_management.unload_all_models()
