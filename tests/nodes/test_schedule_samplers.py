"""Which step each model call of each of ComfyUI's samplers is taken for.

The samplers really run, on a video of four tokens. Their own loop variable says which step they
are in: it is read by standing in for the progress bar (`trange`) that every loop goes through.
"""

import pytest

from psa_pack.nodes.patching.schedule import plan_steps

from .sampling import Bench, Spy, sparse_config, transformer_options

STEPS = 4
# They choose their own sigmas and have no loop over the schedule's.
OWN_STEPS = {"dpm_fast", "dpm_adaptive"}


@pytest.fixture(scope="module")
def smallest(comfy_inproc, one_thread):
    return Bench(comfy_inproc, dim=128, layers=1, ffn=128)


@pytest.fixture
def model_calls(smallest, monkeypatch):
    """run(sampler, scheduler) -> (sigmas of the run, [(loop index or None, sigma)])"""
    import comfy.extra_samplers.uni_pc
    import comfy.k_diffusion.sampling
    import comfy.patcher_extension

    schedule, calls, loop = [], [], [None]

    def trange(count, **_):
        for index in range(count):
            loop[0] = index
            yield index

    monkeypatch.setattr(comfy.k_diffusion.sampling, "trange", trange)
    monkeypatch.setattr(comfy.extra_samplers.uni_pc, "trange", trange)

    def seen_run(executor, *args, **kwargs):
        schedule[:] = [float(s) for s in args[3]]
        return executor(*args, **kwargs)

    def seen_call(executor, *args, **kwargs):
        sigma = transformer_options(args, kwargs)["sigmas"].max()
        calls.append((loop[0], float(sigma)))
        return executor(*args, **kwargs)

    kinds = comfy.patcher_extension.WrappersMP
    model = smallest.model.clone()
    model.add_wrapper_with_key(kinds.OUTER_SAMPLE, "test", seen_run)
    model.add_wrapper_with_key(kinds.APPLY_MODEL, "test", seen_call)

    def run(sampler, scheduler):
        calls.clear()
        loop[0] = None
        smallest.sample(
            model,
            shape=(1, 16, 1, 4, 4),
            steps=STEPS,
            cfg=1.0,
            sampler=sampler,
            scheduler=scheduler,
        )
        return list(schedule), list(calls)

    return run


# ComfyUI's samplers and torchsde, about things of their own
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("scheduler", ["simple", "beta", "karras"])
def test_every_call_of_every_sampler_is_in_its_own_step(model_calls, scheduler):
    import comfy.samplers

    wrong, between, correctors = [], set(), set()
    for sampler in comfy.samplers.SAMPLER_NAMES:
        sigmas, calls = model_calls(sampler, scheduler)
        plan = plan_steps(sigmas, lambda percent: 1.0 - percent, 0, None)
        for loop, sigma in calls:
            found = plan.step_of(sigma)
            same = [i for i in range(STEPS) if sigmas[i] == pytest.approx(sigma, rel=1e-5)]
            if loop is None:
                assert sampler in OWN_STEPS
                loop = max(i for i in range(STEPS) if i in same or sigmas[i] > sigma)
            elif same and same[0] > loop:
                # a look ahead to the noise level of a later step counts as that step
                loop = same[0]
                correctors.add(sampler)
            elif not same:
                between.add(sampler)
            if found != loop:
                wrong.append((sampler, sigma, found, loop))
    assert not wrong
    # that the samplers were seen for which this is not obvious
    assert {"heun", "heunpp2", "dpm_2_ancestral"} <= correctors
    assert {"dpm_2", "dpmpp_sde", "dpmpp_2s_ancestral", "seeds_2", "seeds_3"} <= between


def test_a_run_back_to_noise_is_planned_step_by_step(smallest):
    """Rising sigmas, as FlipSigmas makes them."""
    import torch

    sigmas = torch.tensor([0.0001, 0.4, 0.7, 0.9, 1.0])
    patched = smallest.patch(sparse_config(warmup_steps=2), min_tokens=0)
    spy = Spy()
    smallest.sample(spy.on(patched), sigmas=sigmas, shape=(1, 16, 3, 8, 8))
    expected = pytest.approx([0.7, 0.9])
    assert sorted(spy.sparse_by_sigma()) == expected
    assert [step["sparse"] for step in smallest.reports[-1]["steps"]] == [0, 0, 1, 1]
