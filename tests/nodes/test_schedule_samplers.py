"""Which step each model call of each of ComfyUI's samplers is taken for.

The samplers really run, on a video of four tokens. Their own loop variable says which step they
are in: it is read by standing in for the progress bar (`trange`) that every loop goes through.
"""

import functools
import types

import pytest

from psa_engines.core.current_step import CurrentStep
from psa_engines.core.schedule import plan_steps
from psa_pack.nodes.patching.sampler_steps import known_churn

from .sampling import Bench, Spy, sparse_config, transformer_options

STEPS = 4
# They choose their own sigmas and have no loop over the schedule's.
OWN_STEPS = {"dpm_fast", "dpm_adaptive"}


@pytest.fixture(scope="module")
def smallest(comfy_inproc, one_thread):
    return Bench(comfy_inproc, dim=128, layers=1, ffn=128)


@pytest.fixture
def model_calls(smallest, monkeypatch):
    """run(sampler, scheduler) -> (sigmas of the run, [(loop index or None, sigma or callback)])

    Each entry is a model call, (loop index, sigma), or what the sampler told its callback,
    (loop index, "i", i).
    """
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

    def run(sampler, scheduler, steps=STEPS):
        calls.clear()
        loop[0] = None
        smallest.sample(
            model,
            shape=(1, 16, 1, 4, 4),
            steps=steps,
            cfg=1.0,
            sampler=sampler,
            scheduler=scheduler,
            callback=lambda i, *_: calls.append((loop[0], "i", i)),
        )
        return list(schedule), list(calls)

    return run


# ComfyUI's samplers and torchsde, about things of their own
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("scheduler", ["simple", "karras"])
def test_every_call_of_every_sampler_is_in_its_own_step(model_calls, scheduler):
    import comfy.samplers

    wrong, between, correctors = [], set(), set()
    for sampler in comfy.samplers.SAMPLER_NAMES:
        sigmas, calls = model_calls(sampler, scheduler)
        plan = plan_steps(sigmas, lambda percent: 1.0 - percent, 0, None)
        current = CurrentStep(plan)
        for loop, sigma, *told in calls:
            if told:
                current.called_back(*told)
                continue
            found = current.of_call(sigma)
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


# (sampler, model calls of a step)
CHURNING = {"euler": 1, "heun": 2, "heunpp2": 3, "dpm_2": 2}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("scheduler", ["simple", "karras"])
@pytest.mark.parametrize("churn", [0.2, 2.0, 50.0])
def test_a_call_belongs_to_its_step_whatever_noise_is_added(
    model_calls, monkeypatch, scheduler, churn, known
):
    """Known: one of ComfyUI's own options; else the calls and the callback alone tell."""
    import comfy.k_diffusion.sampling as k_diffusion

    steps = 12
    for sampler in CHURNING:
        function = getattr(k_diffusion, f"sample_{sampler}")
        with monkeypatch.context() as patch:
            churned = functools.partial(function, s_churn=churn)
            patch.setattr(k_diffusion, f"sample_{sampler}", churned)
            sigmas, calls = model_calls(sampler, scheduler, steps)
        schedule = plan_steps(sigmas, lambda percent: 1.0 - percent, 0, None)
        options = types.SimpleNamespace(extra_options={"s_churn": churn})
        current = CurrentStep(schedule, known_churn(options, sigmas) if known else 1.0)
        assert len([call for call in calls if len(call) == 2]) > steps - 2
        before = None
        for loop, sigma, *told in calls:
            if told:
                current.called_back(*told)
                continue
            # a step's first call is the noisy one; what comes after may look ahead
            ahead = [i for i in range(loop, steps) if sigmas[i] == pytest.approx(sigma, rel=1e-5)]
            wanted = loop if loop != before or not ahead else ahead[0]
            assert current.of_call(sigma) == wanted, (sampler, loop, sigma)
            before = loop


@pytest.mark.parametrize("late", [True, False])
def test_noise_that_is_added_in_some_steps_only(model_calls, monkeypatch, late):
    import comfy.k_diffusion.sampling as k_diffusion

    limit = {"s_tmax": 0.9} if late else {"s_tmin": 0.9}
    churned = functools.partial(k_diffusion.sample_euler, s_churn=3.0, **limit)
    monkeypatch.setattr(k_diffusion, "sample_euler", churned)
    sigmas, calls = model_calls("euler", "simple", 12)
    schedule = plan_steps(sigmas, lambda percent: 1.0 - percent, 0, None)
    for raised, most in ((1.25, 0), (1.0, 1)):
        current, wrong = CurrentStep(schedule, raised), []
        for loop, sigma, *told in calls:
            if told:
                current.called_back(*told)
            elif current.of_call(sigma) != loop:
                wrong.append(loop)
        # of noise that nothing told of, the first call is one too early
        assert len(wrong) <= most, (raised, wrong)


@pytest.mark.parametrize("raised", [1.0, 1.1])
def test_a_sampler_that_starts_over_is_in_its_early_steps_again(raised):
    """As restart samplers do, whose callbacks count on."""
    sigmas = [1.0, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.0]
    schedule = plan_steps(sigmas, lambda percent: 1.0 - percent, 0, None)
    current = CurrentStep(schedule, raised)
    down = [current.of_call(s) for s in sigmas[:-1]]
    assert down == list(range(7))
    found = []
    for i, sigma in enumerate((0.85, 0.5, 0.25, 0.1)):
        found.append(current.of_call(sigma))
        current.called_back(7 + i)
    assert found == [1, 3, 4, 6]


def test_a_schedule_that_goes_back_up_is_gone_through_in_its_order():
    sigmas = [1.0, 0.8, 0.5, 0.0, 0.8, 0.5, 0.25, 0.0]
    schedule = plan_steps(sigmas, lambda percent: 1.0 - percent, 0, None)
    current = CurrentStep(schedule)
    calls = [1.0, 0.9, 0.8, 0.5, 0.3, 0.8, 0.6, 0.5, 0.25, 0.1]
    assert [current.of_call(s) for s in calls] == [0, 0, 1, 2, 2, 3, 3, 4, 5, 5]


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
