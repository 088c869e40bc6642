"""Ranges of steps in a real KSampler run: what each step computed, by the run's own record."""

import pytest
import torch

from .sampling import SHAPE, sparse_config

BLOCKS = 2
FEW = {"mask_ratios": {1: [0, 0.2], 0: [0.2, 1]}, "tail": "none"}
MORE = {"mask_ratios": {1: [0, 0.7], 8: [0.7, 1]}, "tail": "none"}


@pytest.fixture(scope="module")
def alone(session_bench):
    """Density of a call with some settings in all steps. Of whole blocks and quotas: exact."""
    known = {}

    def density(**own):
        key = str(own)
        if key not in known:
            session_bench.sample(session_bench.patch(sparse_config(**own)), steps=1)
            known[key] = session_bench.report["density"]
        return known[key]

    return density


def run(bench, config, *, model=None, patch=None, **sample):
    """(report, {(step, block): density or the reason why it was dense}) of one run."""
    from psa_pack.nodes.recording.run_log import log_of

    patched = bench.patch(config, model=model, **(patch or {}))
    out = bench.sample(patched, **sample)
    assert torch.isfinite(out).all() and bench.report["failure"] is None
    (logged,) = log_of(patched).latest()
    found = {}
    for cell in logged.record.cells:
        if cell.block is not None:
            (reason,) = cell.dense or {None}
            found[cell.step, cell.block] = reason or float(cell.tally.density.mean())
    return bench.report, found


def test_each_step_has_what_its_range_says(bench, alone):
    config = sparse_config(
        blocks={0: {"second_moment": True}},
        steps={"0-25%": "dense", "25-50%": FEW, "50-60%": {"blocks": {1: "dense"}, **MORE}},
    )
    report, found = run(bench, config, steps=8)
    few, more, own = alone(**FEW), alone(**MORE), alone()
    assert len({few, more, own}) == 3
    assert found == pytest.approx({
        **{(step, block): "dense range" for step in (0, 1) for block in (0, 1)},
        **{(step, block): few for step in (2, 3) for block in (0, 1)},
        (4, 0): more, (4, 1): "dense block",
        **{(step, block): own for step in (5, 6, 7) for block in (0, 1)},
    })  # fmt: skip
    assert report["plan"] == ["dense"] * 2 + ["sparse"] * 6
    assert report["plan_text"] == (
        "8 steps: 1-2 dense (dense range), 3-4 sparse (25-50%), 5 sparse (50-60%), 6-8 sparse"
    )
    assert report["calls"]["dense"] == {
        "cross-attention": 16, "dense range": 2 * BLOCKS, "dense block": 1,
    }  # fmt: skip
    ranges = [(one["range"], one["steps"], one["calls"]["sparse"]) for one in report["ranges"]]
    assert ranges == [
        ("0-25%", [1, 2], 0), ("25-50%", [3, 4], 4), ("50-60%", [5], 1), (None, [6, 7, 8], 6),
    ]  # fmt: skip
    densities = [one["density"] for one in report["ranges"]]
    assert densities == [None, pytest.approx(few), pytest.approx(more), pytest.approx(own)]


def test_the_report_tells_of_each_range(bench, alone):
    from psa_pack.nodes.recording.run_log import log_of
    from psa_pack.nodes.reporting.picture.page import picture_of
    from psa_pack.nodes.reporting.report import as_json, reports_of
    from psa_pack.nodes.reporting.text import text_of

    # without a tail only in the range: of the rest nothing leaves the softmax
    config = sparse_config(steps={"0-25%": "dense", "25-50%": FEW})
    patched = bench.patch(config)
    bench.sample(patched, steps=8)
    reports = reports_of([log_of(patched)])
    run = as_json(reports)["models"][0]["runs"][0]
    assert [step["range"] for step in run["steps"]][:5] == ["0-25%"] * 2 + ["25-50%"] * 2 + [None]
    assert run["tail"] == "mixed" and 0 < 1 - run["retained"] < run["ranges"][1]["mass"]["0"]
    text = text_of(reports)
    few, own = alone(**FEW), alone()
    assert "Steps 1-2 (0-25%): dense: 4 dense range; " in text
    assert f"Steps 3-4 (25-50%): 4 sparse calls at {few:.0%} density; " in text
    assert f"Steps 5-8 (in no range): 8 sparse calls at {own:.0%} density; " in text
    plain = bench.patch(sparse_config())
    bench.sample(plain, steps=2)
    without = reports_of([log_of(plain)])
    assert "in no range" not in text_of(without) and without[0].runs[0].figures["ranges"] == []
    # a card more
    heights = [picture_of(found).height for found in (reports, without)]
    assert heights[0] - heights[1] >= 62 + 34 * 3


def test_the_warm_up_is_dense_whatever_the_ranges_say(bench):
    config = sparse_config(warmup_steps=3, steps={"0-25%": "dense", "25-50%": FEW})
    report, found = run(bench, config, steps=8)
    reasons = [found[step, 0] for step in range(3)]
    assert reasons == ["warm-up"] * 3 and isinstance(found[3, 0], float)
    assert report["plan_text"] == "8 steps: 1-3 dense (warm-up), 4 sparse (25-50%), 5-8 sparse"


def test_the_window_replaces_warm_up_and_dense_ranges_and_nothing_else(bench, alone):
    config = sparse_config(
        warmup_steps=2, steps={"0-20%": "dense", "40-70%": FEW, "70-90%": "dense"}
    )
    _, found = run(bench, config, patch={"window": (0.05, 0.85)}, steps=10)
    assert [found[step, 0] for step in (0, 9)] == ["before start percent", "after end percent"]
    middle = [found[step, 1] for step in range(1, 9)]
    own, few = alone(), alone(**FEW)
    assert middle == pytest.approx([own] * 3 + [few] * 3 + [own] * 2)


@pytest.mark.parametrize(("scheduler", "split"), [("simple", 2), ("beta", 5)])
def test_the_parts_of_a_split_run_have_what_the_whole_has(bench, scheduler, split):
    config = sparse_config(steps={"0-12.5%": "dense", "25-50%": FEW, "60-100%": MORE})
    same = {"steps": 8, "scheduler": scheduler, "cfg": 1.0}
    _, whole = run(bench, config, **same)
    _, first = run(bench, config, last_step=split, **same)
    _, second = run(bench, config, start_step=split, disable_noise=True,
                    latent=torch.randn(SHAPE), **same)  # fmt: skip
    parts = first | {(step + split, block): x for (step, block), x in second.items()}
    assert parts == pytest.approx(whole)


def test_denoise_below_one_is_the_end_of_the_run(bench, alone):
    config = sparse_config(steps={"0-50%": "dense", "50-75%": FEW})
    latent = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    _, found = run(bench, config, steps=4, denoise=0.5, latent=latent)
    few, own = alone(**FEW), alone()
    assert [found[step, 0] for step in range(4)] == pytest.approx([few, few, own, own])


def test_a_run_that_its_ranges_leave_dense_says_so(bench, caplog):
    report, _ = run(bench, sparse_config(steps={"0-100%": "dense"}), steps=2)
    assert not report["calls"]["sparse"]
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "no step of this run is sparse (2 steps: 1-2 dense (dense range))" in warning
    assert "Fix: leave a part of the run sparse in the preset's steps" in warning


def test_ranges_that_change_nothing_give_the_same_bits(bench):
    plain = bench.sample(bench.patch(sparse_config(warmup_steps=2)), steps=4)
    ranges = {"0-50%": "dense", "50-75%": {"tail": 32}, "75-100%": {"blocks": {0: {"tail": 32}}}}
    same = bench.sample(bench.patch(sparse_config(steps=ranges)), steps=4)
    assert torch.equal(plain, same)
