"""Samplers of ComfyUI's, its guiders, and two models that share one schedule."""

import pytest
import torch

from psa_pack.tools import random_wan

from ..sampling import ROUNDING, SHAPE, Spy, agree, conditioning, dense_level_config, sparse_config
from .beside import check_beside, check_picture, covers, in_both_orders

STEPS = 4
BLOCKS = 2


# One for each way to call the model in a step: once, again at the next step's noise level, in
# between, in a loop of its own, in steps of its own. All samplers: ../test_schedule_samplers.py
SAMPLERS = (
    "euler", "heun", "dpm_2", "seeds_3", "sa_solver_pece", "uni_pc", "dpm_fast", "dpm_adaptive",
)  # fmt: skip


@covers("every sampler")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampler(bench, sampler):
    sampling = {"sampler": sampler, "steps": STEPS, "cfg": 2.0}
    plain = bench.sample(**sampling)
    spy = Spy()
    out = bench.sample(spy.on(bench.patch(dense_level_config())), **sampling)
    agree(bench.report, spy)
    # none of the calls that a sampler makes between its steps is lost
    assert len(spy.sparse) == len(spy.calls) / 2 >= STEPS * BLOCKS
    assert (out - plain).abs().max() < ROUNDING * plain.abs().max()
    bench.sample(bench.patch(sparse_config(warmup_steps=2)), **sampling)
    assert 0 < bench.report["calls"]["sparse"] < len(spy.sparse)
    # dpm_fast and dpm_adaptive make steps of their own, and stop before the last one given
    assert [2] <= [step["step"] for step in bench.report["steps"] if step["sparse"]] <= [2, 3]


@covers("every sampler")
@in_both_orders
def test_shift_node(bench, order):
    """ModelSamplingSD3, which every Wan workflow has."""
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    def shift(model):
        return ModelSamplingSD3().patch(model, 3.0)[0]

    check_beside(bench, shift, order, sparse=STEPS * BLOCKS, steps=STEPS)


@covers("two experts")
def test_two_experts_through_their_nodes(bench, comfy_inproc, comfy_nodes):
    """Wan 2.2: two models, two KSamplerAdvanced, one schedule, one warm-up."""
    import comfy.sd

    high = bench.model
    low = comfy.sd.load_diffusion_model_state_dict(random_wan.tiny_wan(seed=1))
    texts = [conditioning(i, 16, 4096) for i in (0, 1)]
    sampler = comfy_nodes.KSamplerAdvanced()

    def render(high, low):
        def part(model, noise, latent, start, end):
            return sampler.sample(
                model, noise, 7, 8, 3.0, "euler", "simple", *texts, {"samples": latent}, start, end,
                "enable" if end < 8 else "disable",
            )[0]["samples"]  # fmt: skip

        with torch.inference_mode():
            half = part(high, "enable", torch.zeros(SHAPE), 0, 3)
            return part(low, "disable", half, 3, 1000)

    plain = render(high, low)
    assert not torch.allclose(plain, render(high, high), atol=0.1)
    for config, sparse in [(dense_level_config(), [3, 5]), (sparse_config(warmup_steps=4), [0, 4])]:
        bench.reports.clear()
        spies = Spy(), Spy()
        first, second = (bench.patch(config, model=model) for model in (high, low))
        out = render(spies[0].on(first), spies[1].on(second))
        for report, spy in zip(bench.reports, spies, strict=True):
            agree(report, spy)
        assert [r["calls"]["sparse"] for r in bench.reports] == [n * BLOCKS for n in sparse]
        if sparse == [3, 5]:
            assert (out - plain).abs().max() < ROUNDING * plain.abs().max()


@covers("every sampler")
def test_a_guider_node(bench, monkeypatch):
    """Three conditions of one text length are one call of the model, as two are."""
    from comfy_extras import nodes_custom_sampler as custom

    def sample(model):
        noise = custom.RandomNoise.execute(3)[0]
        sampler = custom.KSamplerSelect.execute("euler")[0]
        sigmas = custom.BasicScheduler.execute(model, "simple", STEPS, 1.0)[0]
        texts = [conditioning(i, 16, 4096) for i in range(3)]
        latent = {"samples": torch.zeros(SHAPE)}
        with torch.inference_mode():
            guider = custom.DualCFGGuider.execute(model, *texts, 2.0, 3.0, "regular")[0]
            out = custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)
        return out[0]["samples"]

    monkeypatch.setattr(bench, "sample", sample)
    check_picture(bench, bench.model, bench.patch, sparse=STEPS * BLOCKS)
