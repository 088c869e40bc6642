"""Conditions that make several calls of the model a step, or calls of another size."""

import pytest
import torch

from ..sampling import SHAPE, Spy, conditioning, in_windows, sparse_config
from .beside import ORDERS, check_beside, check_picture, covers, run_counted

STEPS = 4
BLOCKS = 2


def check(bench, positive, sparse, **options):
    """Beside the same conditions without PSA; they change the picture of the plain text."""
    sampling = {"positive": positive, "steps": STEPS, **options}
    assert not torch.allclose(bench.sample(**sampling), bench.sample(steps=STEPS), atol=0.01)
    return check_picture(bench, bench.model, bench.patch, sparse=sparse, **sampling)


@covers("regions, time ranges")
def test_two_masked_regions(bench, comfy_nodes):
    """Three conditions of one text length: one call of the model for all."""
    left = torch.zeros(1, *SHAPE[3:])
    left[..., : SHAPE[4] // 2] = 1
    setter = comfy_nodes.ConditioningSetMask()
    regions = [
        setter.append(conditioning(i, 16, 4096), mask, "default", 1.0)[0]
        for i, mask in ((0, left), (5, 1 - left))
    ]
    (both,) = comfy_nodes.ConditioningCombine().combine(*regions)
    check(bench, both, sparse=STEPS * BLOCKS)
    # texts of three lengths: three calls a step
    (both,) = comfy_nodes.ConditioningCombine().combine(
        regions[0], setter.append(conditioning(5, 20, 4096), 1 - left, "default", 1.0)[0]
    )
    check(bench, both, sparse=3 * STEPS * BLOCKS, text_tokens=(16, 17))


@covers("regions, time ranges")
def test_a_region_that_is_cut_out(bench, comfy_nodes):
    """The model is called with a part of the latent: a grid of its own for that call."""
    from comfy_extras.nodes_video_model import ConditioningSetAreaPercentageVideo

    part = ConditioningSetAreaPercentageVideo().append(
        conditioning(5, 16, 4096), 0.5, 1.0, 0.67, 0.5, 0.0, 0.0, 1.0
    )[0]
    (both,) = comfy_nodes.ConditioningCombine().combine(conditioning(0, 16, 4096), part)
    check(bench, both, sparse=2 * STEPS * BLOCKS)
    spy = Spy()
    config = sparse_config(rearrange_method="SemanticAware")
    bench.sample(spy.on(bench.patch(config)), positive=both, steps=STEPS)
    assert {call.queries for call in spy.sparse} == {192, 64}


@covers("regions, time ranges")
def test_texts_that_follow_one_another(bench, comfy_nodes):
    setter = comfy_nodes.ConditioningSetTimestepRange()
    early = setter.set_range(conditioning(0, 16, 4096), 0.0, 0.5)[0]
    late = setter.set_range(conditioning(5, 19, 4096), 0.5, 1.0)[0]
    (both,) = comfy_nodes.ConditioningCombine().combine(early, late)
    check(bench, both, sparse=6 * BLOCKS)


@covers("LoRA")
def test_a_lora_on_one_condition(bench, lora):
    """Hooks: ComfyUI patches the weights between two calls of one step."""
    from comfy_extras import nodes_hooks

    lora(1.0)(bench.model)
    hook = nodes_hooks.CreateHookLoraModelOnly()
    (hooks,) = hook.create_hook_model_only("tiny_0.safetensors", 1.0)
    (positive,) = nodes_hooks.SetModelHooksOnCond().attach_hook(conditioning(0, 16, 4096), hooks)
    check(bench, positive, sparse=2 * STEPS * BLOCKS)
    for order in ("Gilbert", "SemanticAware"):
        config = sparse_config(rearrange_method=order, warmup_steps=2)
        run_counted(bench, bench.patch(config), positive=positive, steps=STEPS)
        assert bench.report["calls"]["sparse"] == 2 * 2 * BLOCKS


# ComfyUI indexes with a list
@covers("context windows")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_context_windows_node(bench):
    """After PSA; ../layouts has them before it."""
    sampling = {"steps": STEPS, "shape": (1, 16, 5, 16, 16)}
    spy = Spy()
    bench.sample(spy.on(in_windows(bench.model)), **sampling)
    calls = sum(not call.cross for call in spy.calls)
    # how many windows, versions see differently
    assert calls >= 2 * STEPS * BLOCKS
    check_beside(bench, in_windows, ORDERS[1], sparse=calls, **sampling)
