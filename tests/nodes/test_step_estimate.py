"""What a whole step costs: figures by hand. The FLOPs: test_work.py."""

import copy
from pathlib import Path

import numpy as np
import pytest

from psa_kernels import PSAConfig

from ..presets.former import former

ROOT = Path(__file__).resolve().parents[2]
H100 = "NVIDIA H100 80GB HBM3"
PRESET = {
    "block_size": {"n": 128}, "rearrange_method": "Gilbert", "tail": 32, "second_moment": True,
    "mask_ratios": {"1": [0, 0.05], "8": [0.05, 0.2], "0": [0.2, 1]},
}  # fmt: skip
CONFIG = PSAConfig.from_preset(PRESET)
HD_GRID = (21, 45, 80)  # 1280 x 720, 81 frames


def estimate(name="Wan2.1_14b", grid=HD_GRID, plan=None, config=CONFIG, gpu=H100, **options):
    from psa_pack.nodes.estimate.density import Tokens
    from psa_pack.nodes.estimate.models import MODELS
    from psa_pack.nodes.estimate.step import Plan, estimate_step

    plan = plan and Plan(*plan)
    model = MODELS[name] if isinstance(name, str) else name
    return estimate_step(config, Tokens(grid, options.pop("text", 0)), model, plan, gpu=gpu,
                         **options)  # fmt: skip


@pytest.fixture(autouse=True)
def _comfyui(comfy_inproc):
    """nodes/ is importable."""


@pytest.fixture
def no_steps(monkeypatch):
    """As for a model of which no step was measured."""
    from psa_pack.nodes.estimate import speed

    monkeypatch.setitem(speed.table(), "steps", [])


def test_the_share_and_the_step_of_wan_14b_at_720p_by_hand(no_steps):
    """75,600 tokens, 40 blocks of 5120 wide, feed-forward 13,824, 512 tokens of text.

    In units of 10^12 FLOP a block: attention 4 * 75,600^2 * 5120 = 117.05; its projections
    8 * 75,600 * 5120^2 = 15.85; feed-forward 4 * 75,600 * 5120 * 13,824 = 21.40; cross-attention
    4 * 76,112 * 5120^2 = 7.98 and 4 * 75,600 * 512 * 5120 = 0.79. So 117.05 of 163.08.
    """
    found = estimate(plan=(20, 15))
    assert found.flops_share.value == pytest.approx(117.05 / 163.08, abs=1e-4)  # 0.718
    # that call was measured: 171.15 ms dense, 32.34 ms sparse; the rest 46.03e12 / 694e12 s
    rest = 46.03 / 694
    assert found.dense_s.value == pytest.approx(40 * (0.17115 + rest), rel=1e-3)  # 9.5 s
    assert found.sparse_s.value == pytest.approx(40 * (0.03234 + rest), rel=1e-3)  # 3.9 s
    assert found.time_share.value == pytest.approx(0.17115 / (0.17115 + rest), rel=1e-3)
    step = (0.17115 + rest) / (0.03234 + rest)  # 2.41
    assert found.step.value == pytest.approx(step, rel=1e-3)
    assert found.run.value == pytest.approx(20 / (5 + 15 / step), rel=1e-3)  # 1.78
    kinds = {found.dense_s.kind, found.sparse_s.kind, found.time_share.kind, found.step.kind,
             found.run.kind, found.break_even.kind}  # fmt: skip
    assert kinds == {"extrapolated"}
    assert "norms" in found.step.note and "FlashAttention-3" in found.step.note
    assert "15 of 20" in found.run.note and found.step.measured["date"] == "2026-11-22"
    # by arithmetic alone: attention at a density of .093
    assert found.less_work.value == pytest.approx(163.08 / (46.03 + 0.0931 * 117.05), rel=1e-3)


def test_dense_blocks_stay_dense(no_steps):
    rest = 46.03 / 694
    found = estimate(dense_blocks=range(10))
    sparse = 40 * rest + 10 * 0.17115 + 30 * 0.03234
    assert found.sparse_s.value == pytest.approx(sparse, rel=1e-3)
    all_dense = estimate(dense_blocks=range(80))
    assert all_dense.step.value == pytest.approx(1) and all_dense.less_work.value == 1


def with_blocks(blocks):
    return PSAConfig.from_preset({**PRESET, "blocks": blocks})


@pytest.mark.parametrize("gpu", [H100, "NVIDIA H999"])
def test_blocks_that_the_preset_leaves_dense_take_as_long_as_dense_blocks(measured_step, gpu):
    """And one that both leave dense counts once."""
    names = ("less_work", "dense_s", "sparse_s", "step")
    wanted = estimate(gpu=gpu, dense_blocks=range(10))
    for config, more in (
        (with_blocks({"0-9": "dense"}), ()),
        (with_blocks({"0-9": "dense"}), range(5, 10)),
        (with_blocks({"0-4": "dense"}), range(2, 10)),
        (with_blocks({"0-4": {"tail": 64}}), range(10)),
    ):
        found = estimate(gpu=gpu, config=config, dense_blocks=more)
        for name in names:
            got, there = getattr(found, name), getattr(wanted, name)
            assert got.value == pytest.approx(there.value) and got.kind == there.kind, name
    assert wanted.less_work.value < estimate(gpu=gpu).less_work.value


def test_attention_is_that_of_the_measured_step(measured_step):
    """17.6 s dense and 2.7 s sparse; on the H100 8.534 s and 1.467 s."""
    found = estimate(gpu="NVIDIA H999")
    assert found.attention == found.sparse_calls
    assert found.attention.value == pytest.approx(17.6 / 2.7)
    assert (found.attention.kind, found.attention.measured["against"]) == ("measured", "SDPA")
    fast = estimate(config=former()["fast"]).attention
    assert fast.value == pytest.approx(8.534 / 1.467) and fast.kind == "measured"
    assert "attention_pytorch" in fast.note
    # a call that only was measured alone: 37.43 ms, where the step's own is 32.34
    other = PSAConfig.from_preset({"block_size": {"n": 128}, "rearrange_method": "Gilbert",
                                   "mask_ratios": {"1": [0, 0.15], "0": [0.15, 1]}})  # fmt: skip
    found = estimate(gpu="NVIDIA H999", config=other).attention
    assert found.value == pytest.approx(17.6 / (2.7 * 37.43 / 32.34))
    assert found.kind == "extrapolated" and "SDPA" in found.note
    # a quarter of the blocks dense: of all attention, and of the calls that a report times
    mixed = estimate(gpu="NVIDIA H999", config=with_blocks({"0-9": "dense"}))
    assert mixed.sparse_calls.value == pytest.approx(17.6 / 2.7)
    assert mixed.attention.value == pytest.approx(17.6 / (17.6 / 4 + 2.7 * 3 / 4))
    # and share, attention and step go together, whichever preset
    for config in (CONFIG, other, with_blocks({"0-9": "dense"})):
        found = estimate(gpu="NVIDIA H999", config=config)
        share = found.time_share.value
        step = 1 / (1 - share + share / found.attention.value)
        assert step == pytest.approx(found.step.value, rel=0.02)


def test_attention_without_a_measured_step_names_what_it_is_against(no_steps):
    found = estimate()
    assert (found.attention.value, found.attention.kind) == (171.15 / 32.34, "measured")
    assert "FlashAttention-3" in found.attention.note
    mixed = estimate(config=with_blocks({"0-9": "dense"}))
    assert mixed.sparse_calls.value == pytest.approx(171.15 / 32.34)
    assert mixed.attention.value == pytest.approx(40 / (10 + 30 * 32.34 / 171.15))
    assert "FlashAttention-3" in mixed.attention.note


NEAR = (16, 32, 36)  # not far from the one length at which heads of 64 were measured


@pytest.mark.parametrize("name", ["Flux", "LTX-Video", "Cosmos-Predict2", "Kandinsky5"])
def test_of_a_family_of_several_sizes_it_is_said_which_was_counted(name):
    from psa_pack.nodes.estimate.models import MODELS

    found = estimate(name, NEAR, plan=(20, 15))
    known = [x for x in vars(found).values() if x.value is not None]
    assert len(known) > 2 and all(f"counted for {MODELS[name].size}" in x.note for x in known)
    assert "counted for" not in estimate().step.note


def test_a_step_of_every_shipped_family_is_estimated():
    from psa_pack.nodes.estimate.models import MODELS
    from psa_pack.presets.store import PresetStore

    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    for name in (family.name for family in store.list().families):
        text = store.get_family(name).text_length or 0
        found = estimate(name, NEAR, text=text, plan=(20, 15))
        assert 0 < found.flops_share.value < 1 < found.step.value, name
        assert found.dense_s.value > found.sparse_s.value > 0 and found.run.value > 1, name
        assert MODELS[name].assumed in found.dense_s.note, name


@pytest.mark.parametrize("name", ["Kandinsky5", "CogVideo1.5_5b"])
def test_far_from_the_one_measured_length_it_is_said(name):
    """Heads of 64: calls of 17,776 tokens."""
    figures = ("attention", "time_share", "dense_s", "sparse_s", "step", "run")
    words = "heads of 64 have been measured at 17,776 tokens only"
    for grid in (HD_GRID, (4, 30, 52)):
        found = estimate(name, grid, plan=(20, 15))
        assert all(words in getattr(found, figure).note for figure in figures)
        assert found.step.value > 0 and found.step.kind == "extrapolated"
    near = estimate(name, NEAR, plan=(20, 15))
    assert not any(words in getattr(near, figure).note for figure in figures)
    assert near.step.kind == "extrapolated" and near.step.value > 1
    # where PSA begins to be faster is far from it too
    assert words in near.break_even.note and near.break_even.value < 17_776 / 2


@pytest.mark.parametrize("family", ["CogVideo_5b", "Kandinsky5", "Wan2.1_1.3b", "Wan2.1_14b"])
@pytest.mark.parametrize("grid", [(16, 32, 36), HD_GRID])
def test_what_computes_more_takes_longer(family, grid):
    last = None
    for share in (0.05, 0.3, 0.6, 0.9):
        preset = {"block_size": {"n": 128}, "rearrange_method": "Gilbert",
                  "mask_ratios": {"1": [0, share], "0": [share, 1]}}  # fmt: skip
        found = estimate(family, grid, config=PSAConfig.from_preset(preset)).attention.value
        # a product that is computed costs no less than a dense one
        assert found < 1 / share and (last is None or found < last), share
        last = found


def test_the_fit_is_the_best_within_its_bounds():
    """Against a search over a grid of costs, with times that ask for costs below their least."""
    from psa_pack.nodes.estimate.speed import LEAST, _least_squares

    calls = [[1, 0.07, 0.01, 0.01], [1, 0.07, 0.04, 0], [1, 0.07, 0.04, 0.04], [1, 0.17, 0, 0]]
    rows = np.array(calls)
    for times in ([0.36, 0.34, 0.37, 0.34], [0.2, 0.25, 0.28, 0.3], [0.1, 0.1, 0.1, 0.1]):
        found = _least_squares(rows, np.array(times))
        error = np.square(rows @ found - times).sum()
        steps = [np.linspace(0, *x) for x in ((0.4, 41), (2, 21), (3, 16), (3, 16))]
        tried = LEAST + np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 4)
        assert (found >= LEAST).all()
        assert error <= np.square(tried @ rows.T - times).sum(-1).min() + 1e-12


def test_what_is_assumed_is_said_where_it_counts():
    """Sound and text change the rest of a step, not its self-attention."""
    for name, words in (("LTX-2", "25 frames a second"), ("Kandinsky5", "256 tokens of text")):
        found = estimate(name, NEAR, plan=(20, 15))
        for figure in ("flops_share", "less_work", "time_share", "dense_s", "step", "run"):
            assert words in getattr(found, figure).note, (name, figure)
        assert words not in found.attention.note


def test_the_sound_of_ltx_2_by_hand():
    """Grid 13 x 16 x 24: 4,992 tokens and 104 of sound, 1,024 of text; 4096 and 2048 wide.

    In units of 10^9 FLOP a block. The video: attention 4 * 4992^2 * 4096 = 408.3; projections
    8 * 4992 * 4096^2 = 670.0; feed-forward 4 * 4992 * 4096 * 16384 = 1340.0; text 4 * 6016 * 4096^2
    = 403.7 and 4 * 4992 * 1024 * 4096 = 83.8. The sound: 0.1, 3.5, 7.0; text 4 * 1128 * 2048^2 =
    18.9 and 0.9. Between both, each way: 4 * 4992 * 4096 * 2048 = 167.5, 4 * 104 * 2048^2 = 1.7 and
    4 * 4992 * 104 * 2048 = 4.3.
    """
    rest = 670.0 + 1340.0 + 403.7 + 83.8 + 0.1 + 3.5 + 7.0 + 18.9 + 0.9 + 2 * (167.5 + 1.7 + 4.3)
    found = estimate("LTX-2", (13, 16, 24))
    assert found.flops_share.value == pytest.approx(408.3 / (408.3 + rest), abs=1e-4)


def test_the_verdict_is_what_is_felt():
    from psa_pack.nodes.estimate.figure import Figure, verdict

    values = {1.05: "faster", 1.04: "even", 1.0: "even", 0.96: "even", 0.95: "slower", None: None}
    assert {x: verdict(Figure(x, "extrapolated")) for x in values} == values
    assert verdict(Figure(1.0, "dense")) is None


def test_a_dense_preset_and_a_plan_without_sparse_steps_gain_nothing():
    found = estimate(config=PSAConfig(type="dense"), plan=(20, 20))
    assert (found.step.value, found.step.kind, found.run.value) == (1.0, "dense", 1.0)
    assert found.break_even.value is None and "dense preset" in found.break_even.reason
    found = estimate(plan=(4, 0))
    assert (found.run.value, found.run.kind) == (1.0, "dense") and found.step.value > 2
    assert estimate().run is None


@pytest.mark.parametrize(("gpu", "words"), [("NVIDIA H200", "NVIDIA H200"), (None, "no GPU")])
def test_elsewhere_only_arithmetic_is_said(gpu, words):
    there, here = estimate(), estimate(gpu=gpu, plan=(20, 15))
    assert here.flops_share == there.flops_share and here.less_work == there.less_work
    for name in ("time_share", "dense_s", "sparse_s", "step", "run", "break_even", "attention",
                 "sparse_calls"):  # fmt: skip
        figure = getattr(here, name)
        assert figure.value is None and figure.kind is None and words in figure.reason
        assert "H100" in figure.reason


def test_a_model_of_unknown_sizes_has_no_step():
    from psa_pack.nodes.estimate.models import Model

    for model in (None, Model(40, 128, "", "")):
        found = estimate(model, plan=(20, 15))
        assert found.step.value is found.flops_share.value is found.run.value is None
        assert "not known" in found.step.reason
    assert found.break_even.value > 1000  # which goes by heads and their size alone


def test_unmeasured_calls_give_shares_but_no_gain():
    found = estimate(config=PSAConfig(block_n=32))
    assert found.flops_share.value and found.less_work.value > 1
    assert found.step.value is None and "blocks of 32" in found.step.reason
    assert found.break_even.value is None and "blocks of 32" in found.break_even.reason


def test_unmeasured_heads_have_no_time():
    from psa_pack.nodes.estimate.models import Model

    model = Model(16, 80, "", "", 10, 5120, 0)
    for config in (CONFIG, PSAConfig(type="dense")):
        found = estimate(model, config=config)
        assert found.flops_share.value and found.dense_s.value is None
        assert "heads of" in found.dense_s.reason
    assert found.step.value == 1.0


def test_break_even_is_where_the_fitted_call_takes_as_long_as_dense():
    from psa_pack.nodes.estimate import speed
    from psa_pack.nodes.estimate.density import Tokens, density

    found = estimate().break_even
    assert 1000 < found.value < 32_760 and "32,760" in found.note
    hd = density(CONFIG, Tokens(HD_GRID, 0))
    ratio = speed._costs(128, found.value).of(hd.full, hd.value - hd.full, CONFIG)
    assert ratio == pytest.approx(1, rel=0.05)  # given to two digits
    # the more is computed, the longer a sequence has to be; at full density none is long enough
    denser = PSAConfig.from_preset({**PRESET, "mask_ratios": {"1": [0, 0.3], "0": [0.3, 1]}})
    assert estimate(config=denser).break_even.value > found.value
    full = PSAConfig.from_preset({**PRESET, "mask_ratios": {"1": [0, 1]}})
    nowhere = estimate(config=full)
    assert nowhere.break_even.value is None and "slower" in nowhere.break_even.reason
    assert nowhere.step.value < 1


MEASURED = {
    "model": "Wan2.1_14b", "grid": list(HD_GRID), "text": 0, "gpu": "NVIDIA H999",
    "versions": "torch 9", "date": "2031-01-01", "backend": "SDPA", "evaluations": 2,
    "dense_s": 24.0, "dense_attention_s": 17.6, "source": "here",
    "psa": [{"preset": PRESET, "s": 9.0, "attention_s": 2.7}],
}  # fmt: skip


@pytest.fixture
def measured_step():
    """One measured step more, of a GPU of which nothing else is known."""
    from psa_pack.nodes.estimate import speed

    steps = speed.table()["steps"]
    steps.append(copy.deepcopy(MEASURED))
    yield steps[-1]
    steps.pop()


def test_a_measured_step_comes_first(measured_step):
    found = estimate(gpu="NVIDIA H999")
    assert (found.step.value, found.step.kind) == (pytest.approx(24 / 9), "measured")
    assert (found.dense_s.value, found.sparse_s.value) == (12.0, 4.5)
    assert found.dense_s.kind == found.sparse_s.kind == "measured"
    assert found.step.measured == {"gpu": "NVIDIA H999", "versions": "torch 9", "source": "here",
                                   "date": "2031-01-01", "against": "SDPA"}  # fmt: skip
    # the same sizes under another name; other calls than the one that was measured
    assert estimate("Wan2.2_A14B", gpu="NVIDIA H999").step == found.step
    assert "H999" in found.step.note
    assert estimate().dense_s.value == 11.898 and estimate().step.measured["gpu"] == H100


def test_other_steps_go_by_the_parts_of_the_measured_one(measured_step):
    """An evaluation: 12 s dense, 8.8 of it attention; 1.35 s of PSA's calls, that alone take
    40 * 32.34 ms.
    """
    found, rest = estimate(gpu="NVIDIA H999"), 12 - 8.8
    assert found.time_share.value == pytest.approx(8.8 / 12)
    assert found.time_share.kind == "measured"
    other = PSAConfig.from_preset({"block_size": {"n": 128}, "rearrange_method": "Gilbert",
                                   "mask_ratios": {"1": [0, 0.15], "0": [0.15, 1]}})  # fmt: skip
    found = estimate(gpu="NVIDIA H999", config=other)  # that call alone took 37.43 ms
    assert found.sparse_s.value == pytest.approx(rest + 1.35 * 37.43 / 32.34)
    assert (found.dense_s.kind, found.sparse_s.kind) == ("measured", "extrapolated")
    assert found.step.kind == "extrapolated" and "SDPA" in found.step.note
    dense_half = estimate(gpu="NVIDIA H999", dense_blocks=range(20))
    assert dense_half.sparse_s.value == pytest.approx((12 + 4.5) / 2)
    assert dense_half.sparse_s.kind == dense_half.step.kind == "extrapolated"
    # another size: attention by the square of the length, the rest in proportion to its FLOPs
    small = estimate(gpu="NVIDIA H999", grid=(21, 30, 52))
    length = 32_760 / 75_600
    assert small.dense_s.value == pytest.approx((12 - rest) * length**2 + rest * length, rel=1e-3)
    assert small.dense_s.kind == "extrapolated" and "75,600" in small.step.note


def shipped(family, name):
    from psa_pack.presets.store import PresetStore

    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    return store.get_family(family).attention_configs[name]


def test_wan_14b_at_720p_as_it_was_measured():
    """11.898 s dense, 8.534 of them attention; with the former settings fast took 4.801, balanced
    5.583."""
    fast = estimate(config=former()["fast"], plan=(20, 15))
    assert fast.step.value == pytest.approx(2.478, abs=1e-3) and fast.step.kind == "measured"
    assert fast.time_share.value == pytest.approx(0.7173, abs=1e-4)
    # 5 dense steps and 15 sparse ones: 131.5 s instead of 238.0
    assert fast.run.value == pytest.approx(1.810, abs=1e-3) and fast.run.kind == "extrapolated"
    balanced = estimate("Wan2.2_A14B", config=former()["balanced"])
    assert balanced.step.value == pytest.approx(2.131, abs=1e-3)
    assert balanced.step.kind == "measured" and "attention_pytorch" in balanced.step.note
    small = estimate("Wan2.1_1.3b", (21, 30, 52), config=former()["fast"])
    assert small.step.value == pytest.approx(0.594 / 0.2876, rel=1e-3)
    # not one of the measured presets
    faithful = estimate(config=former()["faithful"])
    assert faithful.step.kind == "extrapolated" and faithful.dense_s.kind == "measured"
    assert 1.4 < faithful.step.value < balanced.step.value


def test_the_measured_steps_agree_with_single_calls_and_with_each_other():
    from psa_pack.nodes.estimate.density import Tokens, density
    from psa_pack.nodes.estimate.models import MODELS
    from psa_pack.nodes.estimate.speed import dense_call, same_work, speedup, table

    assert len(table()["steps"]) == 4
    for step in table()["steps"]:
        model, tokens = MODELS[step["model"]], Tokens(tuple(step["grid"]), step["text"])
        rest = step["dense_s"] - step["dense_attention_s"]
        for name, row in zip(("fast", "balanced"), step["psa"], strict=True):
            config = former()[name]
            assert same_work(PSAConfig.from_preset(row["preset"]), config)
            # what is not attention takes as long, whatever serves attention
            assert row["s"] - row["attention_s"] == pytest.approx(rest, rel=0.06)
            call = speedup(config, tokens, density(config, tokens), model).value
            alone = model.blocks * dense_call(tokens, model) / call
            assert 1.0 < row["attention_s"] / alone < 1.3


def test_todays_presets_have_no_measured_step():
    """What was measured with their former settings says nothing of them directly."""
    from psa_pack.nodes.estimate.density import Tokens
    from psa_pack.nodes.estimate.models import MODELS
    from psa_pack.nodes.estimate.over_run import estimate_run
    from psa_pack.nodes.estimate.plan import Plan

    ranges = {
        "fast": {(10, 40): 6, (40, 70): 6},
        "balanced": {(15, 45): 6, (45, 70): 5},
        "faithful": {(20, 45): 5, (45, 70): 5},
    }
    runs = []
    for name, steps in ranges.items():
        config = shipped("Wan2.1_14b", name)
        plan = Plan(20, 6 + sum(steps.values()), steps)
        found = estimate_run(config, Tokens(HD_GRID, 0), MODELS["Wan2.1_14b"], plan, gpu=H100)
        assert found.step.kind == found.attention.kind == found.run.kind == "extrapolated"
        assert found.dense_s.kind == "measured"  # nothing of the preset is in it
        assert "like keys together" in found.attention.note and "every 4 steps" in found.step.note
        assert 1 < found.run.value < found.step.value
        assert "3 sets of settings" in found.step.note
        runs.append(found.run.value)
    assert runs == sorted(runs, reverse=True)


def test_like_keys_add_what_they_added_to_measured_calls(no_steps):
    """At 75,600 tokens 3.955 ms where their groups are made, 3.6 less than nothing where they are
    kept, of 166.12 dense ones."""
    near = {"block_size": {"n": 128}, "rearrange_method": "Gilbert", "tail": 64,
            "mask_ratios": {"1": [0, 0.08], "8": [0.08, 0.33], "0": [0.33, 1]}}  # fmt: skip

    def time(**more):
        return 1 / estimate(config=PSAConfig.from_preset({**near, **more})).attention.value

    anew, kept = 3.955 / 166.12, -3.6 / 166.12
    order = time()
    assert time(grouping="similar", refresh=1) - order == pytest.approx(anew)
    assert time(grouping="similar", refresh=4) - order == pytest.approx((anew + 3 * kept) / 4)
    # and a call that was measured in token order is none with like keys together
    similar = PSAConfig.from_preset({**PRESET, "grouping": "similar"})
    assert estimate().attention.kind == "measured"
    assert estimate(config=similar).attention.kind == "extrapolated"
    # where all is made anew each time, PSA pays from a greater length on
    lengths = [
        estimate(config=PSAConfig.from_preset({**PRESET, "grouping": "similar", "refresh": r}))
        .break_even.value for r in (4, 1)
    ]  # fmt: skip
    assert lengths[0] < lengths[1] and estimate().break_even.value < lengths[1]


def test_every_measured_step_in_the_table_is_whole():
    from psa_pack.nodes.estimate.models import MODELS
    from psa_pack.nodes.estimate.speed import table

    for step in [*table()["steps"], MEASURED]:
        assert step.keys() == MEASURED.keys() and step["model"] in MODELS and step["psa"]
        assert 0 < step["dense_attention_s"] < step["dense_s"]
        for row in step["psa"]:
            PSAConfig.from_preset(row["preset"])
            assert row.keys() == MEASURED["psa"][0].keys()
            assert 0 < row["attention_s"] < row["s"] < step["dense_s"]
