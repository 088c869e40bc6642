"""The step plan against ComfyUI's own noise schedules and schedulers (no model is run here)."""

import collections
import copy
import functools
import types

import pytest

from psa_engines.core.current_step import CurrentStep
from psa_engines.core.schedule import (
    AFTER_WINDOW,
    BEFORE_WINDOW,
    WARM_UP,
    Schedule,
    Step,
    part_of_whole,
    plan_steps,
)

# the schedulers whose steps are even in percent, so that a part tells what came before it
EVEN = ("simple", "normal", "sgm_uniform")
MODELS = ("wan shift 8", "wan shift 5", "cogvideox", "edm")
STEP_COUNTS = (4, 6, 8, 10, 12, 20, 25, 30, 50)


@pytest.fixture(scope="module")
def samplings(comfy_inproc):
    import comfy.model_base
    import comfy.supported_models

    kinds = comfy.model_base.ModelType

    def make(kind, settings):
        config = types.SimpleNamespace(sampling_settings=settings)
        return comfy.model_base.model_sampling(config, kind)

    wan = comfy.supported_models.WAN21_T2V.sampling_settings
    # CogVideoX's settings, written out: the older ComfyUI does not have the model
    cogvideox = {
        "linear_start": 0.00085, "linear_end": 0.012, "beta_schedule": "linear", "zsnr": True,
    }  # fmt: skip
    made = {
        "wan shift 8": make(kinds.FLOW, wan),
        "wan shift 5": make(kinds.FLOW, {**wan, "shift": 5.0}),
        "cogvideox": make(kinds.V_PREDICTION, cogvideox),
        "edm": make(kinds.EDM, {"sigma_min": 0.002, "sigma_max": 80.0}),
    }
    assert made["wan shift 8"].shift == 8.0
    for sampling in made.values():
        # the same few values are asked for again and again; CogVideoX takes 0.1 ms for each
        sampling.percent_to_sigma = functools.cache(sampling.percent_to_sigma)
    return made


@pytest.fixture
def sigmas_of():
    import comfy.samplers
    import torch

    def sigmas(sampling, scheduler, steps, skips_penultimate=False):
        found = comfy.samplers.calculate_sigmas(sampling, scheduler, steps + skips_penultimate)
        # what KSampler does for dpm_2 and uni_pc
        return torch.cat([found[:-2], found[-1:]]) if skips_penultimate else found

    return sigmas


def steps_before(sigmas, percent_to_sigma):
    return part_of_whole([float(s) for s in sigmas], percent_to_sigma, lambda part: None).before


def scheduler_names():
    import comfy.samplers

    return comfy.samplers.SCHEDULER_NAMES


@pytest.mark.parametrize("model", MODELS)
def test_a_full_run_has_no_steps_before_it(samplings, sigmas_of, model):
    sampling = samplings[model]
    for scheduler in scheduler_names():
        for steps in STEP_COUNTS:
            before = steps_before(sigmas_of(sampling, scheduler, steps), sampling.percent_to_sigma)
            # ddim_uniform mostly leaves out the highest noise level
            assert before in ((0, 1) if scheduler == "ddim_uniform" else (0,)), (scheduler, steps)


@pytest.mark.parametrize("skips_penultimate", [False, True])
@pytest.mark.parametrize("scheduler", EVEN)
@pytest.mark.parametrize("model", MODELS)
def test_every_split_of_an_even_scheduler_counts_exactly(
    samplings, sigmas_of, model, scheduler, skips_penultimate
):
    sampling = samplings[model]
    wrong = []
    for steps in STEP_COUNTS:
        sigmas = sigmas_of(sampling, scheduler, steps, skips_penultimate)
        count = len(sigmas) - 1
        for split in range(count - 1):
            before = steps_before(sigmas[split:], sampling.percent_to_sigma)
            # the model has 1000 noise levels: 2 steps of 50 leave an error of a twentieth
            allowed = 2 if skips_penultimate and count - split == 2 and steps >= 25 else 0
            if abs(before - split) > allowed:
                wrong.append((steps, split, before))
    assert not wrong


@pytest.mark.parametrize("scheduler", EVEN)
@pytest.mark.parametrize("model", MODELS)
def test_a_part_in_the_middle_counts_too(samplings, sigmas_of, model, scheduler):
    sampling = samplings[model]
    sigmas = sigmas_of(sampling, scheduler, 30)
    for first in range(28):
        for last in range(first + 3, 31):
            part = sigmas[first : last + 1]
            assert steps_before(part, sampling.percent_to_sigma) == first


@pytest.mark.parametrize(
    ("model", "skips_penultimate"),
    [("wan shift 8", False), ("wan shift 8", True), ("cogvideox", False), ("edm", True)],
)
def test_a_part_of_any_of_comfyuis_schedules_is_found(
    samplings, sigmas_of, model, skips_penultimate
):
    from psa_pack.nodes.patching.known_schedules import known_part

    sampling = samplings[model]
    for scheduler in scheduler_names():
        for steps, every in ((4, 1), (13, 2), (30, 9)):
            sigmas = sigmas_of(sampling, scheduler, steps, skips_penultimate).tolist()
            for split in range(len(sigmas) - 2)[::every]:
                found = part_of_whole(
                    sigmas[split:], sampling.percent_to_sigma,
                    lambda part: known_part(part, sampling),
                )  # fmt: skip
                where = found.before, found.total
                assert where == (split, len(sigmas) - 1), (scheduler, steps)


@pytest.mark.parametrize("model", MODELS)
def test_tables_on_a_gpu_are_not_asked_there(samplings, sigmas_of, model):
    """Thousands of times, each of which waits. The GPU is a fake one, which has no numbers; a copy
    of its tables has those that are there in truth.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode

    from psa_pack.nodes.patching.known_schedules import known_part

    asked, cpu = collections.Counter(), torch.device("cpu")
    tables = {}

    class Asked(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten._local_scalar_dense.default:
                asked[args[0].device.type] += 1
            kwargs = kwargs or {}
            to_cpu = func is torch.ops.aten._to_copy.default and kwargs.get("device") == cpu
            if to_cpu and id(args[0]) in tables:
                return tables[id(args[0])]
            return func(*args, **kwargs)

    sampling = copy.deepcopy(samplings[model])
    # ComfyUI's last scheduler: the others are looked through before
    part = sigmas_of(sampling, "kl_optimal", 13)[3:].tolist()
    fake = FakeTensorMode()
    for name, table in list(sampling.named_buffers()):
        with fake:
            on_gpu = fake.from_tensor(table).to("cuda:0")
        setattr(sampling, name, on_gpu)
        tables[id(on_gpu)] = table
    with Asked():
        assert known_part(part, sampling).before == 3
    assert set(asked) == {"cpu"} and asked["cpu"] > 10


def test_a_part_of_no_known_schedule_is_not_found(samplings):
    from psa_pack.nodes.patching.known_schedules import known_part

    assert known_part([0.7, 0.5, 0.123, 0.0], samplings["wan shift 8"]) is None
    # a single step would be found in almost any schedule
    assert known_part([0.5, 0.0], samplings["wan shift 8"]) is None
    # a model that no scheduler fits
    assert known_part([0.7, 0.5, 0.0], object()) is None


# Without known schedules: largest error in steps, over splits up to the middle of up to 20 steps.
UNEVEN = {"ddim_uniform": 1, "beta": 2}


@pytest.mark.parametrize("scheduler", UNEVEN)
@pytest.mark.parametrize("model", MODELS)
def test_splits_of_uneven_schedulers_are_off_by_little(samplings, sigmas_of, model, scheduler):
    sampling = samplings[model]
    errors = []
    for steps in (count for count in STEP_COUNTS if count <= 20):
        sigmas = sigmas_of(sampling, scheduler, steps)
        for split in range(1, steps // 2 + 1):
            errors.append(abs(steps_before(sigmas[split:], sampling.percent_to_sigma) - split))
    assert max(errors) == UNEVEN[scheduler]


@pytest.mark.parametrize("scheduler", ["karras", "exponential", "kl_optimal"])
@pytest.mark.parametrize("model", ["wan shift 8", "wan shift 5"])
def test_a_second_part_never_warms_up_again(samplings, sigmas_of, model, scheduler):
    """These spend nearly all steps at the lowest noise: the count is far off, but too high."""
    sampling = samplings[model]
    for steps in STEP_COUNTS:
        sigmas = sigmas_of(sampling, scheduler, steps)
        for split in range(1, steps - 1):
            assert steps_before(sigmas[split:], sampling.percent_to_sigma) >= split


@pytest.mark.parametrize("scheduler", EVEN)
@pytest.mark.parametrize("model", MODELS)
def test_parts_of_a_run_plan_as_the_whole(samplings, sigmas_of, model, scheduler):
    sampling = samplings[model]
    sigmas = sigmas_of(sampling, scheduler, 20)
    for warmup in (0, 1, 12, 15, 20, 30):
        whole = plan_steps(sigmas, sampling.percent_to_sigma, warmup, None)
        assert [s.dense for s in whole.steps] == [
            WARM_UP if i < warmup else None for i in range(20)
        ]
        for split in range(1, 19):
            parts = [
                plan_steps(part, sampling.percent_to_sigma, warmup, None).steps
                for part in (sigmas[: split + 1], sigmas[split:])
            ]
            assert [(s.sigma, s.dense) for s in parts[0] + parts[1]] == [
                (s.sigma, s.dense) for s in whole.steps
            ]


def test_where_no_schedule_is_recognised_a_place_is_the_percent_of_the_noise():
    sigmas = [0.7, 0.5, 0.123, 0.1, 0.0]
    plan = plan_steps(sigmas, lambda percent: 1.0 - percent, 0, None)
    assert [s.place for s in plan.steps] == pytest.approx([0.3, 0.5, 0.877, 0.9])
    # back to noise
    plan = plan_steps([0.0, 0.4, 0.9, 1.0], lambda percent: 1.0 - percent, 0, None)
    assert [s.place for s in plan.steps] == pytest.approx([1.0, 0.6, 0.1])
    assert all(0.0 <= s.place < 1.0 for s in plan.steps)


@pytest.mark.parametrize("model", MODELS)
def test_percent_window_goes_by_the_models_own_percent(samplings, sigmas_of, model):
    sampling = samplings[model]
    sigmas = sigmas_of(sampling, "simple", 20)  # its step k starts at k / 20 of the way
    # ends between two steps: CogVideoX and EDM differ by up to a noise level from k / 20
    for window in [(0.0, 1.0), (0.2, 1.0), (0.2, 0.78), (0.0, 0.47), (0.52, 0.53), (1.0, 1.0)]:
        reasons = [s.dense for s in plan_steps(sigmas, sampling.percent_to_sigma, 15, window).steps]
        expected = [
            BEFORE_WINDOW if k < 20 * window[0] else AFTER_WINDOW if k > 20 * window[1] else None
            for k in range(20)
        ]
        assert reasons == expected, window


def test_what_is_dense_all_through_says_what_would_mend_it(samplings, sigmas_of):
    from psa_pack.nodes.patching.planning import nothing_sparse

    sampling = samplings["wan shift 8"]
    sigmas = sigmas_of(sampling, "simple", 4)

    def said(*how, **asked):
        return nothing_sparse(plan_steps(sigmas, sampling.percent_to_sigma, *how), **asked)

    assert said(3, None) is None
    long = said(15, None)
    assert "4 steps: 1-4 dense (warm-up)" in long and "lora_4step" in long and "percent" in long
    assert "percent" not in said(15, None, percent=False)
    for window in ((0.99, 1.0), (0.0, 0.0001), (0.3, 0.31)):
        late = said(15, window)
        assert late is None or ("start_percent" in late and "lora_4step" not in late), window
    assert said(15, (0.99, 1.0)) is not None


@pytest.mark.parametrize(
    ("reasons", "text"),
    [
        ([], "0 steps"),
        ([None], "1 step: 1 sparse"),
        ([WARM_UP, None, None], "3 steps: 1 dense (warm-up), 2-3 sparse"),
        (
            [BEFORE_WINDOW, BEFORE_WINDOW, None, AFTER_WINDOW],
            "4 steps: 1-2 dense (before start percent), 3 sparse, 4 dense (after end percent)",
        ),
    ],
)
def test_describe(reasons, text):
    steps = tuple(Step(1.0 - i / 10, reason) for i, reason in enumerate(reasons))
    assert Schedule(steps).describe() == text


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rising", [False, True])
def test_a_call_of_any_sigma_finds_its_step(samplings, sigmas_of, model, rising):
    import torch

    sampling = samplings[model]
    sigmas = sigmas_of(sampling, "simple", 20)
    sigmas = sigmas.flip(0) if rising else sigmas
    plan = plan_steps(sigmas, sampling.percent_to_sigma, 0, None)
    current = CurrentStep(plan)
    for i in range(20):
        start, end = float(sigmas[i]), float(sigmas[i + 1])
        assert current.of_call(start) == i
        assert current.of_call((start + end) / 2) == i
        assert current.of_call(float(torch.tensor(start).to(torch.float32))) == i
        assert current.of_call(end) == min(i + 1, 19)
    # as a sampler of another pack might look first
    beyond = 2 * float(sigmas.max())
    assert CurrentStep(plan).of_call(beyond) == (19 if rising else 0)


def test_rounding_of_a_sigma_does_not_move_it_to_another_step():
    plan = Schedule(tuple(Step(s, None) for s in (1.0, 0.98, 0.95, 0.9)))
    current = CurrentStep(plan)
    for i, step in enumerate(plan.steps):
        for error in (-5e-6, 5e-6):
            assert current.of_call(step.sigma * (1 + error)) == i
