"""Which attention calls of a real KSampler run sparse, and what the report says of the others.

Counted twice: by PSA's own report, and by a spy on top that sees which calls reached ComfyUI's
attention. The tiny Wan has two blocks of self- and cross-attention: four calls a model call.
"""

import pytest
import torch

from ..pack_import import ROOT
from ..registered import registered
from .sampling import SHAPE, Spy, agree, agree_by_place, sparse_config

BLOCKS = 2


def run(bench, config=None, *, patch=None, placed=True, **sample):
    """(report, spy) of one run with PSA on, after checking that report, record and spy agree.

    placed  whether a call's sigma tells its step, as it does but for noise that a sampler adds
    """
    from psa_pack.nodes.recording.run_log import log_of

    spy = Spy()
    patched = bench.patch(config, **(patch or {}))
    out = bench.sample(spy.on(patched), **sample)
    report = bench.report
    assert torch.isfinite(out).all()
    assert report["failure"] is None
    agree(report, spy)
    if placed:
        agree_by_place(log_of(patched).latest()[-1], spy)
    return report, spy


def sparse_steps(report):
    return [step["step"] for step in report["steps"] if step["sparse"]]


def test_plan_decides_and_every_dense_call_has_its_reason(bench):
    report, spy = run(bench, sparse_config(warmup_steps=2), steps=5)
    assert report["plan"] == ["dense", "dense", "sparse", "sparse", "sparse"]
    assert report["plan_text"] == "5 steps: 1-2 dense (warm-up), 3-5 sparse"
    assert report["calls"] == {
        "sparse": 3 * BLOCKS,
        "dense": {"cross-attention": 5 * BLOCKS, "warm-up": 2 * BLOCKS},
    }
    assert [step["dense"] for step in report["steps"]][:1] == [
        {"cross-attention": BLOCKS, "warm-up": BLOCKS}
    ]
    assert 0 < report["density"] < 1
    assert sum(report["per_level"].values()) == pytest.approx(1)
    assert len(spy.calls) == 5 * BLOCKS * 2


def test_warm_up_longer_than_the_run_leaves_all_dense_and_says_so(bench, caplog):
    report, spy = run(bench, sparse_config(warmup_steps=15), steps=4)
    assert not spy.sparse
    assert report["density"] is None
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [w for w in warnings if "no step of this run is sparse" in w and "warm-up" in w]


@pytest.mark.parametrize(
    ("name", "options", "batches"),
    [
        ("cfg 1", {"cfg": 1.0}, [1]),
        # ComfyUI cannot batch conditions whose text differs in length
        ("split CFG", {"cfg": 6.0, "text_tokens": (16, 17)}, [1, 1]),
        ("batch of 3, batched CFG", {"shape": (3, *SHAPE[1:])}, [6]),
    ],
)
def test_guidance_and_batch(bench, name, options, batches):
    report, spy = run(bench, sparse_config(warmup_steps=1), steps=3, **options)
    assert report["calls"]["sparse"] == 2 * BLOCKS * len(batches)
    assert sparse_steps(report) == [1, 2]
    assert {call.batch for call in spy.calls} == set(batches)
    # first in time is the highest sigma; in it nothing is sparse
    assert all(call.dense for call in spy.calls if call.sigma == spy.calls[0].sigma)


@pytest.mark.parametrize(
    ("sampler", "model_calls"),
    [("heun", 11), ("seeds_3", 16)],
)
def test_samplers_with_several_calls_a_step(bench, sampler, model_calls):
    report, spy = run(bench, sparse_config(warmup_steps=3), steps=6, sampler=sampler, cfg=1.0)
    assert len(spy.calls) == model_calls * BLOCKS * 2
    assert sparse_steps(report) == [3, 4, 5]


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_noise_that_a_sampler_adds_moves_no_call_to_another_step(bench, monkeypatch, sampler):
    import functools

    import comfy.k_diffusion.sampling as k_diffusion

    function = functools.partial(getattr(k_diffusion, f"sample_{sampler}"), s_churn=2.0)
    monkeypatch.setattr(k_diffusion, f"sample_{sampler}", function)
    small = {"shape": (1, 16, 1, 10, 10), "steps": 20, "cfg": 1.0, "sampler": sampler}
    report, spy = run(bench, sparse_config(warmup_steps=6), placed=False, **small)
    assert sparse_steps(report) == list(range(6, 20))
    # heun: one call a step more, which looks ahead to the next step's noise; not in the last
    assert len(spy.sparse) == (14 if sampler == "euler" else 14 + 14) * BLOCKS


def test_denoise_below_one_counts_the_steps_it_skips(bench):
    latent = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    # 4 steps of a schedule of 8: four came before
    report, _ = run(bench, sparse_config(warmup_steps=6), steps=4, denoise=0.5, latent=latent)
    assert sparse_steps(report) == [2, 3]
    report, _ = run(bench, sparse_config(warmup_steps=4), steps=4, denoise=0.5, latent=latent)
    assert sparse_steps(report) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("sampler", "scheduler", "split"), [("euler", "normal", 2), ("uni_pc", "simple", 5)]
)
def test_a_split_run_has_the_sparse_steps_of_the_whole(bench, sampler, scheduler, split):
    config = sparse_config(warmup_steps=4)
    same = {"steps": 8, "sampler": sampler, "scheduler": scheduler, "cfg": 1.0}
    _, whole = run(bench, config, **same)
    first = Spy()
    latent = bench.sample(first.on(bench.patch(config)), last_step=split, **same)
    report, second = run(bench, config, start_step=split, latent=latent, disable_noise=True, **same)
    parts = first.sparse_by_sigma() | second.sparse_by_sigma()
    assert sorted(parts) == pytest.approx(sorted(whole.sparse_by_sigma()))
    assert len(first.sparse) + len(second.sparse) == len(whole.sparse) == 4 * BLOCKS
    assert report["calls"]["sparse"] == min(4, 8 - split) * BLOCKS


@pytest.mark.parametrize(("switch", "high", "low"), [(14, 2, 6), (10, 0, 8)])
def test_two_experts_share_one_warm_up(bench, caplog, switch, high, low):
    """Wan 2.2: 20 steps, the second model goes on where the first stopped; warm-up 12."""
    config = sparse_config(warmup_steps=12)
    small = {"shape": (1, 16, 1, 10, 10), "steps": 20, "cfg": 1.0}
    high_expert, low_expert = bench.patch(config), bench.patch(config, model=bench.model.clone())
    latent = bench.sample(high_expert, last_step=switch, **small)
    first = bench.report
    bench.sample(low_expert, start_step=switch, latent=latent, disable_noise=True, **small)
    second = bench.report
    assert len(first["steps"]) == switch and len(second["steps"]) == 20 - switch
    assert first["calls"]["sparse"] == high * BLOCKS
    assert second["calls"]["sparse"] == low * BLOCKS
    assert second["calls"]["dense"].get("warm-up", 0) == (20 - switch - low) * BLOCKS
    # a first part that is all warm-up is as planned: nothing to warn of
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_percent_window_replaces_the_warm_up(bench):
    report, _ = run(bench, sparse_config(warmup_steps=15), patch={"window": (0.25, 0.6)}, steps=8)
    # simple steps begin at 0, 1/8, ... of the way
    assert sparse_steps(report) == [2, 3, 4]
    reasons = [set(step["dense"]) - {"cross-attention"} for step in report["steps"]]
    assert reasons == [{"before start percent"}] * 2 + [set()] * 3 + [{"after end percent"}] * 3


def test_window_follows_a_shift_set_after_the_patch(bench):
    """The noise schedule is read when the run starts, not when the patch was made."""
    import comfy.model_sampling

    class Shifted(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    shifted = Shifted(bench.model.model.model_config)
    shifted.set_parameters(shift=1.0)
    patched = bench.patch(sparse_config(), window=(0.5, 1.0)).clone()
    patched.add_object_patch("model_sampling", shifted)
    bench.sample(patched, steps=4)
    # unshifted, half of the way is at sigma 0.5; with Wan's own shift of 8 it would be 0.889
    assert [step["sigma"] for step in bench.report["steps"]] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert bench.report["plan"] == ["dense", "dense", "sparse", "sparse"]


def test_blocks_with_settings_of_their_own(bench):
    """Counted where the model does not say its block; the node's dense blocks go on top."""
    few = {"mask_ratios": {1: [0, 0.2], 0: [0.2, 1]}, "tail": "none"}
    plain, _ = run(bench, sparse_config(), steps=2)
    alone, _ = run(bench, sparse_config(**few), steps=2)
    assert alone["density"] < plain["density"]
    mixed, _ = run(bench, sparse_config(blocks={1: few, "7-9": "dense"}), steps=2)
    # batched CFG: each block serves one call a step, so the density is the mean of the two
    assert mixed["density"] == pytest.approx((alone["density"] + plain["density"]) / 2)
    half, spy = run(bench, sparse_config(blocks={0: "dense", 1: few}), steps=2)
    assert half["calls"] == {"sparse": 2, "dense": {"cross-attention": 4, "dense block": 2}}
    assert half["density"] == pytest.approx(alone["density"])
    assert [call.dense for call in spy.calls if not call.cross] == [True, False] * 2
    none, _ = run(bench, sparse_config(blocks={0: "dense", 1: few}), steps=2,
                  patch={"dense_blocks": frozenset({1})})  # fmt: skip
    assert none["calls"]["dense"]["dense block"] == 4


def test_a_block_may_have_an_order_of_its_own(bench):
    """Centroids of the semantic order are kept by call, whatever the other blocks use."""
    config = sparse_config(blocks={1: {"rearrange_method": "SemanticAware"}})
    report, _ = run(bench, config, steps=3)
    assert report["calls"]["sparse"] == 6


def test_dense_blocks(bench):
    for blocks in (frozenset({1, 7}), frozenset({0, 1})):
        report, _ = run(bench, patch={"dense_blocks": blocks}, steps=2)
        kept = len(blocks & {0, 1})
        assert report["calls"]["sparse"] == 2 * (BLOCKS - kept)
        assert report["calls"]["dense"].get("dense block") == 2 * kept


@pytest.mark.parametrize(("min_tokens", "sparse"), [(192, True), (193, False)])
def test_min_tokens(bench, min_tokens, sparse):
    report, _ = run(bench, patch={"min_tokens": min_tokens}, steps=2)
    assert (report["calls"]["sparse"] > 0) == sparse
    assert ("fewer than min_tokens" in report["calls"]["dense"]) != sparse


@pytest.mark.parametrize("qk", ["half", "int8"])
def test_int8_that_kernels_cannot_use_is_said_in_the_report(bench, qk):
    from dataclasses import replace

    from psa_kernels import reference
    from psa_kernels.implementations import TRITON
    from psa_kernels.triton.support import INT8

    short = replace(INT8.limits[0], least=1000)
    kernels = replace(
        TRITON, package=reference, limits=(), precisions=(replace(INT8, limits=(short,)),)
    )
    with registered(kernels):
        report, _ = run(bench, sparse_config(qk=qk), steps=1)
    assert report["implementation"] == "triton"
    said = report["implementation_reason"]
    assert said is None if qk == "half" else said.startswith("qk int8 not used: heads of ")


def test_every_shipped_preset_runs(bench, comfy_inproc, tmp_path):
    comfy_inproc.load_pack()
    from psa_pack.nodes.preset_loader import load_preset
    from psa_presets import PresetStore

    ran = 0
    for family in PresetStore(ROOT / "presets", tmp_path).list().families:
        for preset in family.presets:
            value = load_preset(family.name, preset.name)
            patched = bench.patch(preset=value, window=(0.0, 1.0))
            bench.sample(patched, shape=(1, 16, 1, 10, 10), steps=1, cfg=1.0)
            assert bench.report["failure"] is None
            assert bench.report["preset"] == f"{family.name}/{preset.name}"
            assert (bench.report["calls"]["sparse"] > 0) == (preset.type == "psa")
            ran += 1
    assert ran >= 36


def test_verbose_has_a_line_for_every_sparse_call(bench, caplog):
    caplog.set_level("INFO", "PSA")
    report, _ = run(bench, sparse_config(warmup_steps=1, verbose=True), steps=3)
    lines = [r.getMessage() for r in caplog.records if ": sparse, density" in r.getMessage()]
    assert len(lines) == report["calls"]["sparse"]
    assert lines[0].startswith("step 2, call 0: ") and lines[-1].startswith("step 3, call 1: ")


def test_report_is_plain_and_its_line_names_the_numbers(bench, caplog):
    import json

    caplog.set_level("INFO", "PSA")
    report, _ = run(bench, sparse_config(warmup_steps=1), steps=2)
    assert json.loads(json.dumps(report)) == report
    line = caplog.records[-1].getMessage()
    for part in (
        "PSA test: 2 attention calls sparse", f"{report['density']:.1%} density",
        f"({report['implementation']})",
        "6 dense (4 cross-attention, 2 warm-up)", "2 steps: 1 dense (warm-up), 2 sparse",
    ):  # fmt: skip
        assert part in line
    assert sum(record.name == "PSA" for record in caplog.records) == 2
