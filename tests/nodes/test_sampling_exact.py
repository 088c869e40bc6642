"""Bit-identity and isolation: what PSA must leave exactly as it found it."""

import pytest
import torch

from .sampling import ROUNDING, SHAPE, Spy, dense_level_config, sparse_config


def test_psa_changes_the_result_at_all(bench):
    """What the identities below are measured against."""
    plain, sparse = bench.sample(), bench.sample(bench.patch())
    assert (sparse - plain).abs().max() > 0.01 * plain.abs().max()
    assert torch.equal(sparse, bench.sample(bench.patch()))


def test_dense_preset_is_bit_identical_to_no_psa(bench):
    patched = bench.patch(sparse_config(type="dense"))
    assert torch.equal(bench.sample(patched, sampler="heun"), bench.sample(sampler="heun"))
    assert bench.report["calls"]["sparse"] == 0
    assert bench.report["calls"]["dense"]["dense preset"] > 0
    # nor does it say of any step that it would be sparse
    assert set(bench.report["plan"]) == {"dense"}
    assert "sparse" not in bench.report["plan_text"]


def test_a_run_that_is_all_warm_up_is_bit_identical_to_no_psa(bench):
    assert torch.equal(bench.sample(bench.patch(sparse_config(warmup_steps=4))), bench.sample())


@pytest.mark.parametrize("order", [None, "Gilbert", "STA", "SemanticAware", "Hybrid"])
def test_level_one_everywhere_is_dense_attention(bench, order):
    shape = (1, 16, 3, 9, 13)
    plain = bench.sample(shape=shape)
    out = bench.sample(bench.patch(dense_level_config(rearrange_method=order)), shape=shape)
    assert bench.report["density"] == 1.0
    # another order of summation, over four steps at cfg 6
    assert (out - plain).abs().max() < ROUNDING * plain.abs().max()
    assert not torch.equal(out, plain)


def test_two_patched_models_in_one_process_do_not_meet(bench, comfy_inproc):
    # a model of its own: ComfyUI cannot run one model twice at the same time
    other = comfy_inproc.tiny_wan()
    first = bench.patch(sparse_config(rearrange_method="Hybrid", warmup_steps=1))
    second = bench.patch(sparse_config(block_n=64, tail=64), model=other, window=(0.5, 1.0))
    alone = {"first": bench.sample(first), "second": bench.sample(second, seed=2)}
    assert not torch.equal(alone["first"], alone["second"])

    assert torch.equal(bench.sample(first), alone["first"])
    assert torch.equal(bench.sample(second, seed=2), alone["second"])

    # the second model's whole run takes place inside a step of the first one's
    inner = []

    def between(step, *_):
        if step == 1:
            inner.append(bench.sample(second, seed=2))

    outer = bench.sample(first, callback=between)
    assert torch.equal(outer, alone["first"])
    assert torch.equal(inner[0], alone["second"])


def snapshot(options):
    """Every leaf of a model's nested options by its path."""
    leaves, stack = {}, [((), options)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack += [((*path, key), inner) for key, inner in value.items()]
            leaves[path] = dict
        elif isinstance(value, (list, tuple)):
            stack += [((*path, i), inner) for i, inner in enumerate(value)]
            leaves[path] = (type(value), len(value))
        else:
            leaves[path] = id(value)
    return leaves


def test_the_model_that_was_patched_is_left_as_it_was(bench):
    import comfy.ldm.modules.attention as attention

    model = bench.model.clone()
    model.model_options["transformer_options"]["somebody"] = {"else": [1, 2]}
    before = snapshot(model.model_options)
    weights = {name: w.clone() for name, w in model.model.state_dict().items()}
    module = model.get_model_object("diffusion_model")
    attributes, served_by = dict(module.__dict__), attention.optimized_attention
    plain = bench.sample(model)

    patched = bench.patch(model=model)
    patched_before = snapshot(patched.model_options)
    bench.sample(patched)
    with pytest.raises(KeyError):
        # a run that fails on its way
        bench.sample(patched, callback=lambda *_: {}["no such key"])

    assert snapshot(model.model_options) == before
    assert snapshot(patched.model_options) == patched_before
    assert model.wrappers == bench.model.clone().wrappers
    assert module.__dict__ == attributes and not module._forward_hooks
    assert attention.optimized_attention is served_by
    assert all(torch.equal(w, weights[n]) for n, w in model.model.state_dict().items())
    assert torch.equal(bench.sample(model), plain)


def test_a_second_apply_psa_replaces_the_first(bench):
    once = bench.patch(sparse_config(block_n=64, tail=64))
    expected = bench.sample(once)
    first = bench.patch(sparse_config(), min_tokens=1_000_000)
    twice = bench.patch(sparse_config(block_n=64, tail=64), model=first)
    bench.reports.clear()
    spy = Spy()
    assert torch.equal(bench.sample(spy.on(twice)), expected)
    assert len(bench.reports) == 1
    assert len(spy.sparse) == bench.report["calls"]["sparse"] == 8
    # and the first one is still what it was
    bench.sample(first)
    assert bench.report["calls"]["dense"]["fewer than min_tokens"] == 8


def test_a_batch_is_its_videos_one_by_one(bench):
    """Nothing of one video's plan depends on the others in the batch."""
    noise = torch.randn((3, *SHAPE[1:]), generator=torch.Generator().manual_seed(5))
    patched = bench.patch(sparse_config(rearrange_method="SemanticAware"))
    together = bench.sample(patched, latent=noise, cfg=1.0, denoise=0.9, disable_noise=True)
    for i in range(3):
        single = bench.sample(
            patched, latent=noise[i : i + 1], cfg=1.0, denoise=0.9, disable_noise=True
        )
        # batched and single matrix products round differently
        difference = (together[i : i + 1] - single).abs().max()
        assert difference < ROUNDING * single.abs().max()


def test_guidance_in_one_call_or_in_two_is_the_same(bench):
    """The same two conditions, batched by ComfyUI or split for want of memory."""
    import comfy.model_management

    patched = bench.patch(sparse_config(rearrange_method="Hybrid", warmup_steps=1))
    batched = bench.sample(patched)
    free_memory = comfy.model_management.get_free_memory
    spy = Spy()
    with pytest.MonkeyPatch.context() as patch:
        # what a full card reports; the split is then ComfyUI's own
        patch.setattr(comfy.model_management, "get_free_memory", lambda *a, **k: no_memory(a, k))
        split = bench.sample(spy.on(patched))
    assert comfy.model_management.get_free_memory is free_memory
    assert {call.batch for call in spy.calls} == {1}
    # batched and single matrix products round differently
    assert (split - batched).abs().max() < ROUNDING * batched.abs().max()


def no_memory(args, kwargs):
    torch_too = kwargs.get("torch_free_too", args[1] if len(args) > 1 else False)
    return (1, 1) if torch_too else 1
