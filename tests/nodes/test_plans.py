"""Plans of runs as people cut and pad them, with the right answer beside each, worked by hand."""

import logging
import random
import types

import pytest

from .sampling import sparse_config


@pytest.fixture(scope="module")
def wan(comfy_inproc):
    """wan(shift) -> Wan's noise schedule at that shift"""
    import comfy.model_base
    import comfy.supported_models

    def make(shift):
        settings = {**comfy.supported_models.WAN21_T2V.sampling_settings, "shift": float(shift)}
        config = types.SimpleNamespace(sampling_settings=settings)
        return comfy.model_base.model_sampling(config, comfy.model_base.ModelType.FLOW)

    return make


def sigmas_of(sampling, scheduler, steps):
    import comfy.samplers

    return comfy.samplers.calculate_sigmas(sampling, scheduler, steps).tolist()


def planned(sampling, sigmas, warmup):
    """(plan, "D" of a dense step and "s" of a sparse one)"""
    from psa_pack.nodes.patching.planning import plan_run

    plan = plan_run(sampling, sigmas, warmup, None)
    return plan, "".join("D" if step.dense else "s" for step in plan.steps)


def places(sampling, sigmas):
    """Where in the whole schedule each step begins, for a preset that has ranges of steps."""
    from psa_pack.nodes.patching.planning import plan_run

    return [step.place for step in plan_run(sampling, sigmas, 0, None, ranges()).steps]


def ranges(what="dense"):
    from psa_kernels import PSAConfig

    return PSAConfig(steps={"0-50%": what}).steps


# --- zeros

A = [1.0, 0.9375, 0.8333, 0.625]  # four steps of shift 5


@pytest.mark.parametrize(
    ("sigmas", "warmup", "right"),
    [
        ([*A, 0.0], 1, "Dsss"),
        # a mark before and behind
        ([0.0, *A, 0.0, 0.0], 1, "Dsss"),
        ([0.0, 0.0, *A, 0.0, 0.0, 0.0], 3, "DDDs"),
        ([0.0, *A], 2, "DDs"),
        ([*A, 0.0, 0.0], 2, "DDss"),
        # two chained in one: the zero in the middle is where the first ends
        ([1.0, 0.8, 0.0, 0.6, 0.3, 0.0], 1, "Dsss"),
        ([0.0, 1.0, 0.0, 0.0, 0.6, 0.0], 1, "Ds"),
        # back to noise: from 0, or from almost
        ([0.0, 0.4, 0.7, 1.0], 1, "Dss"),
        ([0.0, 0.4, 0.7, 1.0, 0.0], 1, "Dss"),
        ([0.0001, 0.4, 0.7, 1.0], 1, "Dss"),
        # no noise left, as a broken custom sampler might ask for
        ([0.5, 0.5, 0.5], 1, "Ds"),
        # nothing to do
        ([0.0], 1, ""),
        ([0.0, 0.0], 1, ""),
        ([], 1, ""),
        ([1.0], 1, ""),
    ],
)
def test_zeros_that_are_no_steps(wan, sigmas, warmup, right):
    plan, dense = planned(wan(5), sigmas, warmup)
    assert dense == right
    if right:
        assert plan.describe().startswith(f"{len(right)} steps: ")
        assert len(plan.steps) == len(right)


def test_a_run_is_told_the_steps_that_run(bench, caplog):
    """As chained samplers of other packs pass them: theirs strip the marks themselves."""
    import comfy.k_diffusion.sampling as k_diffusion
    import torch

    def chained(model, x, sigmas, *args, **kwargs):
        assert sigmas[0] == 0.0 and sigmas[-2] == 0.0
        return k_diffusion.sample_euler(model, x, sigmas[1:-1], *args, **kwargs)

    import comfy.sample
    import comfy.samplers

    caplog.set_level("INFO", "PSA")
    model = bench.patch(sparse_config(warmup_steps=1))
    latent = torch.zeros(1, 16, 1, 10, 10)
    noise = comfy.sample.prepare_noise(latent, 1)
    text = [[torch.randn(1, 16, 4096), {}]]
    with torch.inference_mode():
        comfy.sample.sample_custom(
            model, noise, 1.0, comfy.samplers.KSAMPLER(chained),
            torch.tensor([0.0, *A, 0.0, 0.0]), text, text, latent, disable_pbar=True, seed=1,
        )  # fmt: skip
    assert bench.report["plan_text"] == "4 steps: 1 dense (warm-up), 2-4 sparse"
    assert [step["sparse"] for step in bench.report["steps"]] == [0, 2, 2, 2]


# --- parts

# sigmas made for one shift, on a model of another: (theirs, the model's, scheduler, steps of the
# whole, first and last of the part, warm-up, dense steps of the part)
PARTS = [
    (8, 8, "simple", 8, 4, 8, 5, 1),
    (12, 6, "simple", 8, 4, 8, 4, 0),
    (5, 12, "simple", 20, 10, 20, 11, 1),
    (1, 8, "simple", 20, 10, 20, 11, 1),
    (8, 1, "beta", 20, 10, 20, 13, 3),
    (3, 8, "beta", 12, 4, 9, 6, 2),
    (8, 5, "karras", 20, 10, 20, 12, 2),
    (8, 5, "kl_optimal", 12, 9, 12, 10, 1),
    (5, 8, "exponential", 12, 6, 12, 7, 1),
    (8, 5, "sgm_uniform", 20, 15, 20, 12, 0),
    (8, 5, "sgm_uniform", 6, 2, 5, 4, 2),
    (8, 5, "linear_quadratic", 20, 10, 20, 12, 2),
    (11.5, 3, "ddim_uniform", 10, 5, 10, 7, 2),
    # the last two steps, of which one sigma is in between
    (8, 5, "simple", 6, 4, 6, 5, 1),
    (8, 3, "normal", 6, 4, 6, 5, 1),
]


@pytest.mark.parametrize(
    ("theirs", "own", "scheduler", "steps", "first", "last", "warmup", "right"), PARTS
)
def test_a_part_warms_up_as_in_the_whole_whatever_shift_it_was_made_for(
    wan, theirs, own, scheduler, steps, first, last, warmup, right
):
    part = sigmas_of(wan(theirs), scheduler, steps)[first : last + 1]
    plan, dense = planned(wan(own), part, warmup)
    assert dense == "D" * right + "s" * (last - first - right)
    assert plan.estimate is None and "estimate" not in plan.describe()
    assert places(wan(own), part) == [i / steps for i in range(first, last)]


@pytest.mark.parametrize(("theirs", "own"), [(8, 8), (8, 5)])
def test_a_beginning_that_is_made_to_end_has_its_places_in_the_whole(wan, theirs, own):
    """KSamplerAdvanced without leftover noise; and in the middle of three."""
    whole = sigmas_of(wan(theirs), "simple", 20)
    for first, last in ((0, 10), (7, 14)):
        part = [*whole[first:last], 0.0]
        _, dense = planned(wan(own), part, 9)
        wanted = min(9, last) - first
        assert dense == "D" * wanted + "s" * (last - first - wanted)
        assert places(wan(own), part) == [i / 20 for i in range(first, last)]


def drawn(number):
    """(theirs, own, scheduler, steps, first, last, warm-up), nothing that is not told by sigmas."""
    draw = random.Random(number)
    scheduler = draw.choice(
        ["simple", "sgm_uniform", "normal", "beta", "ddim_uniform", "karras", "exponential",
         "kl_optimal", "linear_quadratic"]
    )  # fmt: skip
    own = draw.choice([1, 3, 5, 8, 12])
    theirs = draw.choice([own, own, 1, 3, 4.5, 5, 8, 12])
    steps = draw.randint(5, 50)
    first = draw.randint(0, steps - 3)
    last = draw.randint(first + 3, steps)
    if scheduler in ("karras", "exponential", "kl_optimal", "normal"):
        # between one shift's ends another shift's look alike; normal's end alone differs from
        # sgm_uniform's of a step less
        last = steps
    return theirs, own, scheduler, steps, first, last, draw.randint(0, steps)


@pytest.mark.parametrize("number", range(30))
def test_a_schedule_drawn_at_random_and_cut_at_random_places(wan, number):
    theirs, own, scheduler, steps, first, last, warmup = drawn(number)
    whole = sigmas_of(wan(theirs), scheduler, steps)
    steps = len(whole) - 1  # some leave out what falls on one noise level
    last = min(last, steps) if last < steps else steps
    part = whole[first : last + 1]
    plan, dense = planned(wan(own), part, warmup)
    wanted = max(0, min(warmup, last) - first)
    assert dense == "D" * wanted + "s" * (last - first - wanted)
    assert places(wan(own), part) == [i / steps for i in range(first, last)]
    assert plan.goes_on == (last < steps)


def test_what_stays_an_estimate_is_said_in_the_plan(wan):
    unknown = [0.7, 0.5, 0.123, 0.1, 0.0]
    plan, _ = planned(wan(8), unknown, 9)
    said = f"(estimated to be the steps after the first {plan.estimate})"
    assert plan.estimate > 4 and said in plan.describe()
    from psa_pack.nodes.patching.planning import plan_run

    assert "estimated" in plan_run(wan(8), unknown, 0, None, ranges()).describe()
    # where nothing hangs on it, it is not said
    assert plan_run(wan(8), unknown, 9, (0.2, 1.0)).estimate is None
    assert planned(wan(8), unknown, 0)[0].estimate is None
    assert planned(wan(8), [1.0, 0.7, 0.5, 0.0], 3)[0].estimate is None


@pytest.mark.parametrize("theirs", [1, 8])
@pytest.mark.parametrize(
    ("scheduler", "steps", "first", "last", "doubted"),
    [
        # sgm_uniform of 5 and normal of 6: the same steps but for the end
        ("normal", 6, 2, 4, 5),
        ("sgm_uniform", 5, 2, 4, 5),
        ("sgm_uniform", 20, 0, 12, 20),
        ("normal", 6, 2, 6, None),
        ("sgm_uniform", 5, 2, 5, None),
        ("simple", 20, 3, 8, None),
        ("beta", 20, 3, 8, None),
    ],
)
def test_a_part_that_schedules_of_two_lengths_hold_is_said_to_be_an_estimate(
    wan, theirs, scheduler, steps, first, last, doubted
):
    from psa_pack.nodes.patching.planning import plan_run

    part = sigmas_of(wan(theirs), scheduler, steps)[first : last + 1]
    for own in (theirs, 5) if last - first > 2 else (theirs,):
        plan = plan_run(wan(own), part, 4, None, ranges())
        assert plan.of == doubted and plan.estimate is None
        said = f"(estimated to be part of {doubted} steps)"
        assert plan.describe().endswith(said) if doubted else "estimate" not in plan.describe()
        assert plan.steps[0].place == first / (doubted or steps)
        # the warm-up counts what came before, of which there is no doubt
        assert "estimate" not in plan_run(wan(own), part, 4, None).describe()


WHOLE = [1.0, 0.975, 0.94, 0.8, 0.55, 0.0]  # typed: of no schedule
PART = [0.7, 0.5, 0.123, 0.1, 0.0]
WINDOW = (0.2, 1.0)


@pytest.mark.parametrize(
    ("sigmas", "warmup", "window", "settings", "searches"),
    [
        (WHOLE, 2, None, None, False),
        (WHOLE, 0, None, None, False),
        (WHOLE[:-1], 2, None, None, False),
        (PART, 0, None, None, False),
        (PART, 2, WINDOW, None, False),
        # a window replaces the dense ranges
        (PART, 2, WINDOW, "dense", False),
        (PART, 2, WINDOW, {"tail": 32}, True),
        (PART, 2, None, None, True),
        (PART, 0, None, "dense", True),
        (WHOLE[:-1], 0, None, "dense", True),
        # a whole run needs none; one that may be cut short does
        (WHOLE, 2, None, "dense", False),
        ([*WHOLE[:3], 0.0], 2, None, "dense", True),
    ],
)
def test_schedules_are_searched_only_where_something_hangs_on_it(
    wan, monkeypatch, sigmas, warmup, window, settings, searches
):
    from psa_pack.nodes.patching import planning

    searched = []
    monkeypatch.setattr(planning, "known_part", lambda *args: searched.append(args))
    monkeypatch.setattr(planning, "_parts", {})
    asked = [ranges(settings)] if settings else []
    plan = planning.plan_run(wan(8), sigmas, warmup, window, *asked)
    assert len(plan.steps) == len(sigmas) - 1 and bool(searched) == searches
    if sigmas is WHOLE:
        assert [step.place for step in plan.steps] == [i / 5 for i in range(5)]


def test_a_dense_preset_searches_nothing(bench, monkeypatch):
    from psa_kernels import PSAConfig
    from psa_pack.nodes.patching import planning

    searched = []
    monkeypatch.setattr(planning, "known_part", lambda *args: searched.append(args))
    monkeypatch.setattr(planning, "_parts", {})
    model = bench.patch(PSAConfig(type="dense"))
    bench.sample(model, **{**SMALL, "scheduler": "beta", "start_step": 5})
    assert not searched and bench.report["plan_text"] == "3 steps: 1-3 dense (dense preset)"


def test_the_same_sigmas_are_searched_once_for_each_noise_schedule(wan, monkeypatch):
    from psa_pack.nodes.patching import planning

    searched = []
    monkeypatch.setattr(planning, "known_part", lambda *args: searched.append(args))
    monkeypatch.setattr(planning, "_parts", {})
    sampling = wan(8)
    for shift in (8, 8, 5):
        sampling.set_parameters(shift=shift)
        planning.plan_run(sampling, WHOLE[2:], 2, None)
    assert len(searched) == 2


def test_what_was_found_may_be_forgotten_at_once(wan, monkeypatch):
    from psa_pack.nodes.patching import planning

    class Emptied(dict):
        """As by another thread, right after."""

        def __setitem__(self, key, value):
            pass

    monkeypatch.setattr(planning, "_parts", Emptied())
    part = sigmas_of(wan(8), "beta", 12)[4:]
    assert places(wan(8), part) == [i / 12 for i in range(4, 12)]


# --- two samplers


def said(caplog, level):
    return [r.getMessage() for r in caplog.records if r.name == "PSA" and r.levelno == level]


SMALL = {"shape": (1, 16, 1, 10, 10), "steps": 8, "cfg": 1.0}


def test_a_first_sampler_that_ends_at_0_is_warned_and_the_warning_taken_back(bench, caplog):
    caplog.set_level("INFO", "PSA")
    high = bench.patch(sparse_config(warmup_steps=4))
    low = bench.patch(sparse_config(warmup_steps=4), model=bench.model.clone())
    latent = bench.sample(high, last_step=3, force_full_denoise=True, **SMALL)
    (warning,) = said(caplog, logging.WARNING)
    assert "no step of this run is sparse" in warning
    assert "unless another sampler continues from here" in warning
    caplog.clear()
    bench.sample(low, start_step=3, latent=latent, **SMALL)
    assert bench.report["plan"] == ["dense", *["sparse"] * 4]
    assert not said(caplog, logging.WARNING)
    assert "no longer applies" in said(caplog, logging.INFO)[0]
    # once
    caplog.clear()
    bench.sample(low, start_step=3, latent=latent, **SMALL)
    assert not any("no longer applies" in line for line in said(caplog, logging.INFO))


@pytest.mark.parametrize(
    "second", [{}, {"start_step": 3, "last_step": 4}], ids=["a new run", "dense as well"]
)
def test_a_warning_stands_where_no_other_sampler_goes_on(bench, caplog, second):
    caplog.set_level("INFO", "PSA")
    patched = bench.patch(sparse_config(warmup_steps=4))
    bench.sample(patched, last_step=3, force_full_denoise=True, **SMALL)
    bench.sample(patched, **SMALL, **second)
    assert not any("no longer applies" in line for line in said(caplog, logging.INFO))
