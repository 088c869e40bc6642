"""The quality bench's arithmetic: densities, statistics, metrics, results on disk."""

import json
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from psa_kernels import PSAConfig, psa_attention
from psa_pack.benchmarks.block_mass import by_block, needed
from psa_pack.benchmarks.quality import decide
from psa_pack.benchmarks.quality.density import (
    Unreachable,
    cost_of_run,
    density_of,
    nearest_whole,
    ratios_of,
    solve,
    solve_counts,
)
from psa_pack.benchmarks.quality.report import write_report
from psa_pack.benchmarks.quality.results import Mismatch, Results, merge, read
from psa_pack.benchmarks.quality.settings import Setting, orders, sweep
from psa_pack.benchmarks.quality.spread import paired, spread
from psa_pack.presets.store import PresetStore
from psa_pack.tools.clip_metrics import sharpness, temporal_difference

from ..pack_import import ROOT

TAILS = st.sampled_from(["none", 8, 16, 32, 64, 128])
RATIOS = st.dictionaries(st.sampled_from([1, 2, 4, 8]), st.floats(0.1, 10), min_size=1, max_size=4)


@given(target=st.floats(0.001, 1), ratio=RATIOS, tail=TAILS, blocks=st.integers(1, 300))
def test_solved_density_is_met_from_below(target, ratio, tail, blocks):
    try:
        counts = solve_counts(target, ratio, tail, blocks)
    except Unreachable:
        # one block on the finest level, the rest on the tail, is more than that
        least = density_of({min(ratio): 1}, blocks, tail)
        assert least > target
        return
    found = density_of(counts, blocks, tail)
    assert found <= target + 1e-8
    assert set(counts) == set(ratio) and min(counts.values()) >= 0 and counts[min(ratio)] >= 1
    # nothing more fits: every block is on the finest level, or one step more is too dear
    if counts[min(ratio)] < blocks and min(ratio) == 1:
        assert target - found <= 1 / blocks + 1e-9


@settings(deadline=None)
@given(
    target=st.floats(0.05, 1), ratio=RATIOS, tail=TAILS, blocks=st.integers(2, 12),
    n=st.sampled_from([32, 64, 128]),
)  # fmt: skip
def test_solved_density_is_the_density_of_a_call(target, ratio, tail, blocks, n):
    assume(tail == "none" or tail <= n)
    try:
        counts = solve_counts(target, ratio, tail, blocks)
    except Unreachable:
        assume(False)
    config = PSAConfig(block_n=n, mask_ratios=ratios_of(counts, blocks), tail=tail)
    q = torch.randn(1, 1, blocks * n, 16, generator=torch.Generator().manual_seed(0))
    _, stats = psa_attention(q, q, q, config=config, return_stats=True)
    assert stats.density == pytest.approx(density_of(counts, blocks, tail), abs=1e-9)


def test_whole_blocks_next_to_a_target():
    assert nearest_whole(0.2, 64) == 13 / 64
    assert nearest_whole(0.001, 64) == 1 / 64


def test_orders_cost_the_same():
    rows = orders(8192, 20).rows
    assert len(rows) == 7
    blocks = 8192 // 128
    for row in rows:
        assert row.target == 13 / 64
        ratios = row.config.mask_ratios
        counts = {level: round(ratios.width(level) * blocks) for level in (1, 2, 4, 8)}
        found = density_of(counts, blocks, row.config.tail)
        assert 13 / 64 - 1 / blocks < found <= 13 / 64 + 1e-9, row.key


def test_what_cannot_be_had_is_named_and_nothing_is_compared_with_it():
    # two key blocks: one in full and a tail of 16 for the other cost more than half
    found = sweep(256, 5, (0.5,))
    assert found.left_out == [
        ("density 0.5", name, "it costs 0.531 at least")
        for name in ("levels and tail", "levels, tail, second moment")
    ]
    rows = orders(256, 5).rows
    assert [(row.label, row.against) for row in rows] == [
        ("raster, block-sparse", ""), ("Gilbert, block-sparse", rows[0].key)
    ]  # fmt: skip


def test_settings_survive_json():
    for row in sweep(8192, 20, (0.1,)).rows:
        assert Setting.from_data(json.loads(json.dumps(row.to_data()))) == row


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    store = PresetStore(ROOT / "presets", tmp_path_factory.mktemp("none"))
    return [store.get_family("Wan2.1_1.3b")]


@pytest.mark.parametrize("tokens", [8192, 16384, 32768])
@pytest.mark.parametrize(("steps", "most"), [(20, 48), (8, 13), (4, 13)])
def test_candidates_cost_what_the_preset_costs(families, tokens, steps, most):
    """Over the run, up to the block that does not fit any more; all of them can be had."""
    found = decide.settings(families, tokens, steps)
    assert not found.left_out and 10 <= len(found.rows) <= most
    assert len({row.key for row in found.rows}) == len(found.rows)
    shipped = {row.table: row for row in found.rows if row.label == "as shipped"}
    for row in found.rows:
        cost = cost_of_run(shipped[row.table].config, tokens, steps)
        own = cost_of_run(row.config, tokens, steps)
        assert cost - 128 / tokens < own <= cost + 1e-9, row.key
        assert row.against == ("" if row.label == "as shipped" else shipped[row.table].key)
        assert Setting.from_data(json.loads(json.dumps(row.to_data()))) == row


@given(
    steps=st.integers(3, 30), dense=st.integers(0, 8), cost=st.floats(0.05, 1),
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4), blocks=st.integers(2, 300),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_a_falling_plan_never_costs_more(steps, dense, cost, shape, blocks):
    budget = decide.Budget(128 * blocks, steps, cost)
    shape = tuple(sorted(shape, reverse=True))
    try:
        config = budget.plan(dense, shape)
    except Unreachable:
        return
    assert cost_of_run(config, 128 * blocks, steps) <= cost + 1e-9
    full = [config.for_step(i / steps).mask_ratios.width(1) for i in range(dense, steps)]
    assert full == sorted(full, reverse=True) or len(set(shape)) == 1


def test_a_falling_plan_of_known_shares():
    """Two of 8 steps dense, half of the rest at twice the density: 2 + 3 * 26/64 + 3 * 13/64."""
    budget = decide.Budget(64 * 128, 8, (2 + 3 * 39 / 64) / 8)
    config = budget.plan(2, (2, 1), decide.block_sparse)
    assert dict(config.in_range("25-62.5%").mask_ratios) == {1: (0, 26 / 64), 0: (26 / 64, 1)}
    assert dict(config.mask_ratios) == {1: (0, 13 / 64), 0: (13 / 64, 1)}
    assert config.warmup_steps == 2


REPORTED_RUN = {
    "subject": "a" * 64, "gpu": None, "model": "x.safetensors",
    "sampling": {"grid": [8, 32, 32], "steps": 4, "cfg": 4.0, "sampler": "euler",
                 "scheduler": "simple"},
    "versions": {"torch": "2", "triton": None},
    "environment": {"date": "2026-11-29T00:00", "commit": "x"},
}  # fmt: skip


def test_groups_of_equal_cost_are_ranked(families, tmp_path):
    """By the mean PSNR, best first, with the worst clip beside it; a row without clips is last."""
    rows = decide.settings(families, 8192, 4).rows[:3]
    figures = {"ssim": 0.9, "haarpsi": 0.8, "sharpness": 0.97, "temporal": 0.5, "latent": 0.2,
               "density": 0.2, "overall_density": 0.4, "seconds": 1,
               "dense_seconds": 2}  # fmt: skip
    psnr = [(20.0, 24.0), (19.0, 31.0)]
    lines = [
        {"kind": "run", **REPORTED_RUN},
        {"kind": "check", "name": "x", "found": 0.0, "ok": True},
        {"kind": "settings", "rows": [row.to_data() for row in rows], "left_out": []},
        *({"kind": "clip", "clip": clip, "key": row.key, **figures, "psnr": value}
          for row, values in zip(rows, psnr, strict=False) for clip, value in enumerate(values)),
        {"kind": "clip", "clip": 0, "key": rows[2].key, "left_out": "a reason"},
        {"kind": "time", "key": rows[1].key, "sparse": 30.0, "run": 60.5, "dense": 160.0},
    ]  # fmt: skip
    write_report(lines, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    table = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    found = {line[0].strip("| "): line for line in table}
    labels = [row.label for row in rows]
    assert [name for name in found if name in labels] == [labels[1], labels[0], labels[2]]
    head = found["|"] if "|" in found else next(x for x in table if "worst clip" in x)
    at = head.index("worst clip")
    assert found[labels[1]][at] == "19.00" and found[labels[1]][at - 1].startswith("25.00")
    assert found[labels[0]][head.index("sharpness")].startswith("0.970")
    at = head.index("ms, mean of all steps")
    assert found[labels[1]][at] == "60.50" and found[labels[0]][at] == "-"
    assert (tmp_path / "psnr-time.png").read_bytes().startswith(b"\x89PNG")


def test_shares_of_a_known_budget():
    # 13 blocks of 64: 8 in full, 24 at 8 (3 blocks' worth), 32 at 16 (2)
    assert dict(solve(13 / 64, {1: 1, 8: 3}, 16, 64)) == {
        1: (0, 8 / 64), 8: (8 / 64, 32 / 64), 0: (32 / 64, 1),
    }  # fmt: skip


def test_spread_of_known_values():
    found = spread([1.0, 2.0, 3.0, 4.0])
    assert (found.count, found.mean) == (4, 2.5)
    assert found.std == pytest.approx(1.29099, rel=1e-5)
    # t(0.975, 3) = 3.18245
    assert found.half == pytest.approx(3.18245 * 1.29099 / 2, rel=1e-5)
    assert spread([3.0]).half is None


def test_differences_are_taken_clip_by_clip():
    found = paired({0: 5.0, 1: 7.0, 2: 100.0}, {0: 4.0, 1: 5.0, 3: -100.0})
    assert (found.count, found.mean) == (2, 1.5)
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_temporal_difference_of_known_motion():
    moving = torch.linspace(0, 1, 5).view(5, 1, 1, 1).expand(5, 3, 4, 4)
    assert temporal_difference(moving, moving * 0.5 + 0.3) == pytest.approx(0.5)
    assert temporal_difference(moving, torch.zeros_like(moving)) == pytest.approx(1)
    assert temporal_difference(moving, moving + 0.1) == pytest.approx(0, abs=1e-6)
    assert math.isinf(temporal_difference(torch.zeros(3, 3, 4, 4), moving[:3]))


def test_sharpness_of_known_pictures():
    """Half the contrast is a quarter of the energy; what is blurred is softer however it moves, and
    another sample of the same statistics is as sharp."""
    rng = torch.Generator().manual_seed(3)
    frames, other = (torch.rand(4, 3, 64, 64, generator=rng) for _ in range(2))
    assert sharpness(frames, frames * 0.5 + 0.3) == pytest.approx(0.25, rel=1e-5)
    blurred = torch.nn.functional.avg_pool2d(frames, 3, stride=1)
    # the mean of 9: differences of neighbours are those of two columns of 3, of variance 2 * 3 / 81
    assert sharpness(frames, blurred) == pytest.approx(3 / 81, rel=0.05)
    assert sharpness(frames, other) == pytest.approx(1, rel=0.02)
    assert sharpness(frames, frames.flip(0)) == pytest.approx(1)


def test_how_many_blocks_hold_the_mass():
    even, peaked = torch.full((10,), 0.1), torch.eye(10)[3]
    assert needed(torch.stack([even, peaked]), 0.85).tolist() == pytest.approx([0.9, 0.1])
    assert by_block(even, 4).tolist() == pytest.approx([0.4, 0.4, 0.2])


RUN = {"subject": "a", "sampling": {"steps": 3}, "gpu": None, "versions": {"torch": "2"}}


def test_results_keep_what_was_written(tmp_path):
    results = Results(tmp_path, RUN)
    results.add("clip", clip=0, key="x", psnr=1.0)
    again = Results(tmp_path, RUN)
    assert again.has("clip", clip=0, key="x") and not again.has("clip", clip=1, key="x")


def test_a_line_that_was_cut_off_is_lost_alone(tmp_path):
    results = Results(tmp_path, RUN)
    results.add("clip", clip=0, key="x")
    with results.path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "clip", "clip": 1, "ke')
    again = Results(tmp_path, RUN)
    again.add("clip", clip=2, key="x")
    kinds = [line.get("clip") for line in read(again.path)]
    assert kinds == [None, 0, None, 2]


def test_a_damaged_file_is_one_message(tmp_path):
    file = tmp_path / "results.jsonl"
    file.write_text('{"kind": "run"}\nnonsense\n{"kind": "clip"}\n', encoding="utf-8")
    with pytest.raises(Mismatch, match="line 2: not JSON"):
        read(file)


@pytest.mark.parametrize("name", ["subject", "sampling", "gpu", "versions"])
def test_different_runs_do_not_merge(tmp_path, name):
    Results(tmp_path / "a", RUN).add("clip", clip=0, key="x")
    Results(tmp_path / "b", RUN).add("clip", clip=1, key="x")
    lines = merge([tmp_path / "a", tmp_path / "b"])
    assert [line["clip"] for line in lines if line["kind"] == "clip"] == [0, 1]
    Results(tmp_path / "c", {**RUN, name: "other"})
    with pytest.raises(Mismatch, match=f"{name} differs"):
        merge([tmp_path / "a", tmp_path / "c"])


def test_steps_that_make_groups_anew_are_counted_as_a_run_has_them():
    from psa_pack.benchmarks.quality import peers

    steps = {"0-10%": "dense", "50-100%": {"tail": 8}}
    config = PSAConfig(grouping="similar", refresh=4, steps=steps)
    found = peers._sparse_steps(config, 20)
    assert sum(found.values()) == 18
    first = config.for_step(0.1)
    # sparse steps 0, 1, 5 of the first eight; 8, where the range begins, 9, 13 and 17 of the others
    counts = {(own.tail, kept): count for (own, kept), count in found.items()}
    assert counts == {
        (first.tail, False): 3, (first.tail, True): 5, (8, False): 4, (8, True): 6
    }  # fmt: skip
    plain = peers._sparse_steps(config.replace(grouping="order"), 20)
    assert {kept for _, kept in plain} == {False}
