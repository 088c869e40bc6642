"""What a whole step costs: figures by hand. FLOPs: test_model_flops.py; times: measured_gpu.py."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from psa_kernels import PSAConfig, measured

from .. import measured_gpu
from ..measured_gpu import DENSE, MACHINE

ROOT = Path(__file__).resolve().parents[2]
PRESET = {
    "block_size": {"n": 128}, "rearrange_method": "Gilbert", "tail": 32, "second_moment": True,
    "mask_ratios": {"1": [0, 0.05], "8": [0.05, 0.2], "0": [0.2, 1]},
}  # fmt: skip
CONFIG = PSAConfig.from_preset(PRESET)
HD_GRID = (21, 45, 80)  # 1280 x 720, 81 frames
TIMES = ("time_share", "dense_s", "sparse_s", "step", "run", "break_even", "attention",
         "sparse_calls")  # fmt: skip


def estimate(name="Wan2.1_14b", grid=HD_GRID, plan=None, config=CONFIG, text=0, dense_blocks=()):
    from psa_pack.nodes.estimate.calls import Plan, calls_of_run
    from psa_pack.nodes.estimate.density import Tokens
    from psa_pack.nodes.estimate.models import MODELS
    from psa_pack.nodes.estimate.step import estimate_run

    model = MODELS[name] if isinstance(name, str) else name
    plan = plan and Plan(*plan)
    calls = calls_of_run(config, model.blocks if model else 0, plan, dense_blocks)
    found = estimate_run(calls, Tokens(grid, text), model, plan)
    return SimpleNamespace(**{"run": None} | found)


def density_of(config, grid=HD_GRID):
    from psa_pack.nodes.estimate.density import Tokens, density

    return density([(1, config)], Tokens(grid, 0)).value


def hold(path, *entries):
    """What was measured is this."""
    measured_gpu.write(path, *entries)
    measured.forget()


def entry_of(*calls):
    times = {"matmul_tflops": 200.0, "calls": calls}
    return measured_gpu.entry(times=False) | {"times": times}


def share_of(config, kept=0.0):
    """The time of a call in dense ones, by measured_gpu.py."""
    return 0.05 + kept + 1.2 * density_of(config)


@pytest.fixture(autouse=True)
def _comfyui(comfy_inproc):
    """nodes/ is importable."""


def test_the_share_and_the_step_of_wan_14b_at_720p_by_hand(gpu):
    """75,600 tokens, 40 blocks of 5120 wide, feed-forward 13,824, 512 tokens of text.

    In units of 10^12 FLOP a block: attention 4 * 75,600^2 * 5120 = 117.05; its projections
    8 * 75,600 * 5120^2 = 15.85; feed-forward 4 * 75,600 * 5120 * 13,824 = 21.40; cross-attention
    4 * 76,112 * 5120^2 = 7.98 and 4 * 75,600 * 512 * 5120 = 0.79. So 117.05 of 163.08.
    """
    found = estimate(plan=(20, 15))
    assert found.flops_share.value == pytest.approx(117.05 / 163.08, abs=1e-4)  # 0.718
    rest, dense = 46.03 / 200, 117.05 / 100
    sparse = dense * (0.05 + 1.2 * 0.0931)
    assert found.dense_s.value == pytest.approx(40 * (dense + rest), rel=1e-3)  # 56 s
    assert found.sparse_s.value == pytest.approx(40 * (sparse + rest), rel=1e-3)  # 16.8 s
    assert found.time_share.value == pytest.approx(dense / (dense + rest), rel=1e-3)
    step = (dense + rest) / (sparse + rest)
    assert found.step.value == pytest.approx(step, rel=1e-3)
    assert found.attention.value == pytest.approx(dense / sparse, rel=2e-3)
    assert found.run.value == pytest.approx(20 / (5 + 15 / step), rel=1e-3)
    assert {getattr(found, name).kind for name in TIMES} == {"extrapolated"}
    source = {"gpu": MACHINE["gpu"], "versions": "torch 2.11.0, Triton 3.6.0",
              "date": measured_gpu.DATE, "against": DENSE}  # fmt: skip
    assert all(getattr(found, name).measured == source for name in TIMES)
    assert "200 TFLOP/s" in found.step.note and DENSE in found.attention.note
    assert "15 of 20" in found.run.note
    assert "calls of 32,760 and 75,600 tokens" in found.step.note
    # by arithmetic alone: attention at a density of .093
    assert found.less_work.value == pytest.approx(163.08 / (46.03 + 0.0931 * 117.05), rel=1e-3)


def with_blocks(blocks):
    return PSAConfig.from_preset({**PRESET, "blocks": blocks})


def test_blocks_that_the_preset_leaves_dense_take_as_long_as_dense_blocks(gpu):
    """And one that both leave dense counts once."""
    wanted = estimate(dense_blocks=range(10))
    plain = estimate()
    assert wanted.sparse_s.value == pytest.approx(
        (plain.dense_s.value + 3 * plain.sparse_s.value) / 4
    )
    for config, more in (
        (with_blocks({"0-9": "dense"}), ()),
        (with_blocks({"0-9": "dense"}), range(5, 10)),
        (with_blocks({"0-4": "dense"}), range(2, 10)),
        (with_blocks({"0-4": {"tail": 64}}), range(10)),
    ):
        found = estimate(config=config, dense_blocks=more)
        for name in ("less_work", "dense_s", "sparse_s", "step", "attention", "sparse_calls"):
            assert getattr(found, name).value == pytest.approx(getattr(wanted, name).value), name
    assert wanted.less_work.value < plain.less_work.value
    # of all attention, and of the calls that a report times
    assert wanted.sparse_calls.value == pytest.approx(plain.sparse_calls.value)
    assert wanted.attention.value == pytest.approx(1 / (0.25 + 0.75 / plain.attention.value))
    nothing = estimate(dense_blocks=range(80))
    assert (nothing.step.value, nothing.step.kind, nothing.less_work.value) == (1.0, "dense", 1.0)


@pytest.mark.parametrize("thin, thick", [(0.62, 0.86), (0.8, 0.8)])
def test_launches_of_a_short_call_do_not_grow_with_heads(unmeasured, thin, thick):
    """For 8,000 tokens the longer call predicts 4 * 0.05 dense ones and 1.2 times the density.

    It takes 0.3 more, or, as long as the launches need, the same at either density.
    """
    from psa_pack.nodes.estimate.times import here

    calls = [measured_gpu.call(tokens, 12) for tokens in (8_000, 32_000)]
    for one, share in zip(calls[0]["psa"], (thin, thick), strict=True):
        one |= dict.fromkeys(
            ("order_ms", "anew_ms", "kept_ms"), share * calls[0]["dense_ms"][DENSE]
        )
    hold(unmeasured, entry_of(*calls))

    def took(tokens, heads, density=0.1):
        return here(128).sparse(CONFIG, tokens, heads, density, False)

    scaled, launches = 0.2 + 0.12, thin - 0.2 - 0.12
    assert took(8_000, 12) == pytest.approx(thin)
    assert took(8_000, 12, 0.3) == pytest.approx(thick)
    assert took(8_000, 48) == pytest.approx(scaled + launches / 4)
    assert took(8_000, 4) == pytest.approx(scaled + launches * 3)
    # half as long: dense attention takes a quarter
    assert took(4_000, 48) == pytest.approx(0.4 + 0.12 + launches)
    # half-way to the length that has none
    assert took(16_000, 48) == pytest.approx((scaled + 0.05 + 0.12) / 2 + launches / 8)
    assert took(32_000, 48) == took(32_000, 12) == pytest.approx(0.05 + 0.12)


@pytest.mark.parametrize("head_dim", [80, 96, 128])
def test_heads_of_another_size_than_the_measured_ones(gpu, head_dim):
    """Stored as 128, they cost PSA as much; dense attention follows their size. It is said."""
    from psa_pack.nodes.estimate.models import Model
    from psa_pack.nodes.estimate.times import here

    tokens, heads = 75_600, 40
    dense = 4 * tokens**2 * heads * head_dim / 100e12
    assert here(head_dim).dense(tokens, heads) == pytest.approx(dense)
    found = estimate(Model(heads, head_dim)).attention
    assert 1 / found.value == pytest.approx(share_of(CONFIG) * 128 / head_dim, rel=2e-3)
    assert ("timed for heads of 128" in found.note) == (head_dim != 128)


def test_between_two_measured_lengths_and_beyond_them(unmeasured):
    """Dense at 50 TFLOP/s at 10,000 tokens and 100 at 40,000: 75 at 20,000, by the logarithm."""
    calls = [measured_gpu.call(10_000, 12), measured_gpu.call(40_000, 12)]
    calls[0]["dense_ms"][DENSE] *= 2
    hold(unmeasured, entry_of(*calls))
    from psa_pack.nodes.estimate.times import here

    known = here(128)
    for tokens, tflops in ((10_000, 50), (20_000, 75), (40_000, 100), (80_000, 100), (5_000, 50)):
        flops = 4 * tokens**2 * 40 * 128
        assert known.dense(tokens, 40) == pytest.approx(flops / tflops / 1e12), tokens
    # below the shortest, what is not attention weighs more
    for tokens, other, slope in ((40_000, 0.05, 1.2), (10_000, 0.025, 0.6), (5_000, 0.05, 0.6)):
        found = known.sparse(CONFIG, tokens, 40, 0.2, False)
        assert found == pytest.approx(other + slope * 0.2), tokens


def test_like_keys_and_small_blocks_add_what_was_measured(gpu):
    small = CONFIG.replace(block_n=64)
    assert 1 / estimate(config=small).attention.value == pytest.approx(1.1 * share_of(small))
    for refresh, more in ((1, 0.02), (2, 0.005), (4, -0.0025)):
        similar = PSAConfig.from_preset({**PRESET, "grouping": "similar", "refresh": refresh})
        found = 1 / estimate(config=similar).attention.value
        assert found == pytest.approx(share_of(CONFIG, kept=more))


@pytest.mark.parametrize("steps", [[18], [7], [3], [2], [1], [6, 6, 6], [5, 0, 9], [1, 1, 1]])
def test_like_keys_are_made_anew_as_often_as_a_runs_state_makes_them(gpu, steps):
    """Steps of two ranges and of none; groups outlive a range, plans do not."""
    from psa_kernels import OrderState
    from psa_pack.nodes.estimate.step import LONG_RUN

    like = PSAConfig.from_preset({**PRESET, "grouping": "similar", "refresh": 4})
    sparse, of_range = sum(steps), [i for i, n in enumerate(steps) for _ in range(n)]
    state, made = OrderState(), {"groups": 0, "plan": 0}
    for step, range_ in enumerate(of_range):
        state.begin(step + 2)
        for name, what_for in (("groups", "all"), ("plan", range_)):
            if state.recall(name, what_for, like.refresh) is None:
                state.remember(name, what_for, True, 0)
                made[name] += 1
    of_none = steps.pop()
    ranges = dict(zip([(10, 40), (40, 70)], steps, strict=False))
    assert sparse == of_none + sum(ranges.values())
    found = estimate(config=like, plan=(sparse + 2, sparse, ranges)).attention
    # by measured_gpu.py: making groups takes 0.02 of a dense call, a plan 0.01
    more = -0.01 + 0.02 * made["groups"] / sparse + 0.01 * made["plan"] / sparse
    assert 1 / found.value == pytest.approx(share_of(like, more))
    said = f"like keys anew in {made['groups'] / sparse:.0%} of the sparse steps"
    assert said in found.note and LONG_RUN not in found.note
    assert LONG_RUN in estimate(config=like).attention.note
    assert "like keys" not in estimate().attention.note


def with_int8(**changes):
    """Calls in int8 take 0.02 dense ones less, at either density."""
    found = measured_gpu.entry(**changes)
    for call in found["times"]["calls"]:
        for one in call["psa"]:
            one["int8_ms"] = one["order_ms"] - 0.02 * call["dense_ms"][DENSE]
    return found


@pytest.mark.parametrize("grouping", ["order", "similar"])
def test_int8_counts_where_it_was_measured_and_would_run(gpu, grouping):
    """With like keys too: what int8 saves is in the attention, which both have."""
    half = CONFIG.replace(grouping=grouping, refresh=1)
    int8, auto = half.replace(qk="int8"), half.replace(qk="auto")
    more = 0.02 if grouping == "similar" else 0.0
    plain = estimate(config=half).attention.value
    assert plain == pytest.approx(1 / share_of(half, more))
    # measured in half precision only, and auto has no reason to run in int8
    found = estimate(config=int8).attention
    assert found.value == plain and "these run in int8" in found.note
    assert "summed" not in found.note
    found = estimate(config=half.replace(value_sums="float16")).attention
    assert found.value == plain and "these are summed in float16" in found.note
    assert estimate(config=auto).attention.value == plain
    for qk in ("half", "int8"):
        attend = dict.fromkeys(("half", "int8"), measured_gpu.entry()["attend"]["half"])
        hold(gpu, with_int8(qk=qk, attend=attend))
        faster = pytest.approx(1 / share_of(half, more - 0.02))
        for config, in_int8 in ((half, False), (int8, True), (auto, qk == "int8")):
            found = estimate(config=config).attention
            assert found.value == (faster if in_int8 else pytest.approx(plain)), (qk, config.qk)
            assert ("query-key products in int8" in found.note) == in_int8


def test_int8_is_not_counted_where_the_kernels_lack_it(gpu):
    """Heads of 16: the kernels' own word decides (psa_kernels/triton/support.py)."""
    from psa_pack.nodes.estimate.models import Model

    hold(gpu, with_int8(head_dim=16))
    found = [estimate(Model(40, 16), config=CONFIG.replace(qk=qk)).attention
             for qk in ("half", "int8")]  # fmt: skip
    assert found[0] == found[1] and found[0].value > 1


@pytest.mark.parametrize("name", ["Flux", "LTX-Video", "Cosmos-Predict2", "Kandinsky5", "LTX-2"])
def test_what_was_counted_is_said_where_it_is_not_the_whole_family_or_model(gpu, name):
    from psa_pack.nodes.estimate.models import MODELS

    found = estimate(name, plan=(20, 15))
    assert all(MODELS[name].note in x.note for x in vars(found).values())
    assert ("sound" if name == "LTX-2" else "counted for ") in MODELS[name].note
    assert not MODELS["Wan2.1_14b"].note


def test_a_step_of_every_shipped_family_is_estimated(gpu):
    from psa_pack.presets.store import PresetStore

    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    for name in (family.name for family in store.list().families):
        text = store.get_family(name).text_length or 0
        found = estimate(name, (21, 32, 36), text=text, plan=(20, 15))
        assert 0 < found.flops_share.value < 1 < found.step.value, name
        assert found.dense_s.value > found.sparse_s.value > 0 and found.run.value > 1, name


def test_a_dense_preset_and_a_plan_without_sparse_steps_gain_nothing(gpu):
    found = estimate(config=PSAConfig(type="dense"), plan=(20, 20))
    assert (found.step.value, found.step.kind, found.run.value) == (1.0, "dense", 1.0)
    assert found.dense_s.value == found.sparse_s.value > 0
    assert found.break_even.value is None and "nothing is sparse" in found.break_even.reason
    found = estimate(plan=(4, 0))
    assert (found.run.value, found.run.kind) == (1.0, "dense") and found.step.value > 2
    assert estimate().run is None


def test_without_a_measurement_only_arithmetic_is_said(gpu, monkeypatch):
    from psa_pack.nodes.estimate import times

    there = estimate(plan=(20, 15))
    stale = measured_gpu.entry(driver="1.0")
    other = measured_gpu.entry()
    for call in other["times"]["calls"]:
        call["dense_ms"] = {"SageAttention": 1.0}
    for held, words in (
        ([], "nothing was measured on this GPU for heads of 128"),
        ([measured_gpu.entry(64)], "nothing was measured on this GPU for heads of 128"),
        ([measured_gpu.entry(times=False)], "nothing was measured on this GPU"),
        ([stale], "measured with the driver 1.0, here it is 580.1"),
        ([other], f"dense attention is {DENSE} here; measured was SageAttention"),
    ):
        measured_gpu.write(gpu, *held) if held else gpu.unlink()
        measured.forget()
        found = estimate(plan=(20, 15))
        assert (found.flops_share, found.less_work) == (there.flops_share, there.less_work)
        for name in TIMES:
            figure = getattr(found, name)
            assert figure.value is None and figure.kind is None and words in figure.reason, held
        assert times.offer(128) == "128" and times.this_gpu() == MACHINE["gpu"]
    assert (times.offer(80), times.offer(40), times.offer(300)) == ("128", "64", None)
    # where measuring would bring nothing, it is not offered
    monkeypatch.setattr(times, "machine_of", lambda device: None)
    assert "no GPU" in estimate().step.reason
    assert times.offer(128) is times.this_gpu() is None


def test_torchs_own_attention_stands_in_for_comfyuis_pytorch_attention(unmeasured, monkeypatch):
    """Until ComfyUI's own was timed; and for no other attention."""
    from psa_pack.nodes import measuring
    from psa_pack.nodes.estimate import times

    monkeypatch.setattr(times, "LIBRARY", "torch's")
    call = measured_gpu.call(32_760, 12, against="torch's")
    hold(unmeasured, entry_of(call))
    found = estimate().attention
    assert times.STANDS_IN in found.note and found.measured["against"] == "torch's"
    assert times.offer(128) is None
    # ComfyUI's is twice as fast
    call["dense_ms"][DENSE] = call["dense_ms"]["torch's"] / 2
    hold(unmeasured, entry_of(call))
    own = estimate().attention
    assert own.value == pytest.approx(found.value / 2) and times.STANDS_IN not in own.note
    assert own.measured["against"] == DENSE
    attention = measuring.comfy.ldm.modules.attention
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_split)
    found = estimate().attention
    assert found.value is None and "dense attention is split attention here" in found.reason
    assert times.offer(128) == "128"


def test_what_is_dense_in_comfyui_is_timed_beside_the_tuners_calls(unmeasured):
    from psa_pack.nodes import measuring
    from psa_pack.nodes.estimate.times import here, offer

    calls = [measured_gpu.call(tokens, 2, against="the library's") for tokens in (256, 512)]
    hold(unmeasured, entry_of(*calls))
    assert offer(128) == "128" and "the library's" in here(128)
    asked = []
    said = measuring.time_dense(128, lambda: asked.append(1))
    assert said.startswith(f"Dense in ComfyUI is {DENSE}. It took ") and len(asked) == 2
    found = measured.find(measuring.comfy.model_management.get_torch_device(), 128,
                          measuring.torch.bfloat16).entry["times"]["calls"]  # fmt: skip
    assert all(call["dense_ms"].keys() == {"the library's", DENSE} for call in found)
    assert here(128).source["against"] == DENSE and offer(128) is None


def test_a_dense_attention_that_fails_is_named_and_leaves_the_file(unmeasured, monkeypatch):
    from psa_pack.nodes import measuring

    def attention_sage(q, k, v, heads, skip_reshape):
        raise AssertionError("no such head size")

    hold(unmeasured, entry_of(measured_gpu.call(256, 2)))
    before = unmeasured.read_bytes()
    attention = measuring.comfy.ldm.modules.attention
    monkeypatch.setattr(attention, "optimized_attention", attention_sage)
    said = measuring.time_dense(128, lambda: None)
    assert "SageAttention" in said and "no such head size" in said
    assert unmeasured.read_bytes() == before


def test_lengths_at_which_a_dense_attention_fails_leave_the_others(unmeasured, monkeypatch):
    from psa_pack.nodes import measuring

    attention = measuring.comfy.ldm.modules.attention

    def attention_sage(q, k, v, heads, skip_reshape):
        if q.shape[2] == 384:
            raise AssertionError("no such length")
        return attention.attention_pytorch(q, k, v, heads, skip_reshape=skip_reshape)

    hold(unmeasured, entry_of(*(measured_gpu.call(tokens, 2) for tokens in (256, 384, 512))))
    monkeypatch.setattr(attention, "optimized_attention", attention_sage)
    said = measuring.time_dense(128, lambda: None)
    assert "ms in the call of 256 tokens" in said
    assert "could not be timed in the call of 384 tokens: " in said and "no such length" in said
    found = estimate().attention
    assert found.measured["against"] == "SageAttention"
    assert "calls of 256 and 512 tokens" in found.note


def test_comfyuis_time_is_its_ratio_to_the_attention_that_was_timed_beside_psa(
    unmeasured, monkeypatch
):
    """That took 1000 seconds when PSA was timed, and takes less than one now."""
    from psa_pack.nodes import measuring
    from psa_pack.nodes.estimate.times import LIBRARY

    call = measured_gpu.call(256, 2, against=LIBRARY)
    call["dense_ms"][LIBRARY] = 1e6
    hold(unmeasured, entry_of(call))
    attention = measuring.comfy.ldm.modules.attention
    monkeypatch.setattr(attention, "optimized_attention", attention.attention_split)
    assert "Dense in ComfyUI is split attention. It took " in measuring.time_dense(
        128, lambda: None
    )
    (found,) = json.loads(unmeasured.read_text(encoding="utf-8"))["measured"]
    times = found["times"]["calls"][0]["dense_ms"]
    assert times[LIBRARY] == 1e6 and times["split attention"] > 1e4


def test_a_file_that_cannot_be_written_is_named(unmeasured):
    """A folder where the file would be copied: what it has cannot be read, nor kept beside it."""
    from psa_pack.nodes import measuring

    hold(unmeasured, entry_of(measured_gpu.call(256, 2, against="the library's")))
    device = measuring.comfy.model_management.get_torch_device()
    assert measured.find(device, 128, measuring.torch.bfloat16).entry
    unmeasured.unlink()
    unmeasured.mkdir()
    said = measuring.time_dense(128, lambda: None)
    assert f"ms in the call of 256 tokens. Its times could not be written to {unmeasured}: " in said


def test_a_model_of_unknown_sizes_has_no_step(gpu):
    from psa_pack.nodes.estimate.models import Model

    for model in (None, Model(40, 128)):
        found = estimate(model, plan=(20, 15))
        assert found.step.value is found.flops_share.value is found.run.value is None
        assert "not known" in found.step.reason
    # which go by heads and their size alone
    assert found.break_even.value > 64 and found.attention.value > 1


def test_unmeasured_calls_give_shares_but_no_gain(gpu):
    for change, words in (
        ({"block_n": 32}, "key blocks of 32"), ({"block_m": 64}, "query blocks of 64"),
        ({"importance": "exact"}, "exact importance"),
        ({"rearrange_method": "SemanticAware"}, "SemanticAware"),
    ):  # fmt: skip
        found = estimate(config=CONFIG.replace(**change))
        assert found.flops_share.value and found.less_work.value > 1
        for name in ("step", "break_even", "attention"):
            assert getattr(found, name).value is None and words in getattr(found, name).reason


def test_break_even_is_where_a_call_takes_as_long_as_dense(gpu):
    """Below 32,760 tokens .05 grows with 1 / length; given to two digits."""
    found = estimate().break_even
    assert found.value == pytest.approx(32_760 * 0.05 / (1 - 1.2 * density_of(CONFIG)), rel=0.05)
    # the more is computed, the longer a sequence has to be; at full density none is long enough
    denser = PSAConfig.from_preset({**PRESET, "mask_ratios": {"1": [0, 0.3], "0": [0.3, 1]}})
    assert estimate(config=denser).break_even.value > found.value
    full = PSAConfig.from_preset({**PRESET, "mask_ratios": {"1": [0, 1]}})
    nowhere = estimate(config=full)
    assert nowhere.break_even.value is None and "slower" in nowhere.break_even.reason
    assert nowhere.step.value < 1


@pytest.mark.parametrize("last", [0.5, 2.0])
def test_break_even_is_after_the_last_length_at_which_psa_is_slower(unmeasured, last):
    """Faster at 10,000 tokens, slower at 40,000, at 160,000 by `last`."""
    calls = [measured_gpu.call(tokens, 12) for tokens in (10_000, 40_000, 160_000)]
    for call, share in zip(calls, (0.5, 2.0, last), strict=True):
        ms = share * call["dense_ms"][DENSE]
        for one in call["psa"]:
            one |= dict.fromkeys(("order_ms", "anew_ms", "kept_ms"), ms * (1 + one["density"] / 99))
    hold(unmeasured, entry_of(*calls))
    found = estimate().break_even
    if last > 1:
        assert (found.value, found.reason) == (
            None,
            "slower than dense attention in long sequences",
        )
    else:
        # 2 falls to 0.5 by the logarithm: 1 is two thirds of the way
        assert found.value == pytest.approx(40_000 * 4 ** (2 / 3), rel=0.05)


def test_a_length_beyond_those_that_were_timed_is_said(gpu):
    """Of the video, and of the break-even, which has a length of its own."""
    shorter, longer = "shorter than any that was timed", "longer than any that was timed"
    for grid, said in (
        ((21, 30, 51), shorter), ((21, 30, 52), ""), ((21, 45, 80), ""), ((21, 45, 81), longer)
    ):  # fmt: skip
        found = estimate(grid=grid, plan=(20, 15))
        for name in TIMES:
            note = getattr(found, name).note
            wanted = shorter if name == "break_even" else said
            assert [x in note for x in (shorter, longer)] == [
                x == wanted for x in (shorter, longer)
            ]


def test_noise_in_what_was_measured_makes_no_call_free(unmeasured):
    """Two densities whose times go the wrong way, or as steep as if nothing came before."""
    from psa_pack.nodes.estimate.times import here

    for thin, thick in ((4.0, 3.0), (1.0, 9.0)):
        call = measured_gpu.call(32_760, 12)
        for one, ms in zip(call["psa"], (thin, thick), strict=True):
            one |= dict.fromkeys(("order_ms", "anew_ms", "kept_ms"), ms)
        hold(unmeasured, entry_of(call))
        found = [here(128).sparse(CONFIG, 32_760, 12, x, False) for x in (0.01, 0.1, 0.3, 0.9)]
        assert found == sorted(found) and found[0] > 0


def test_todays_presets_mean_over_their_ranges(gpu):
    from psa_pack.presets.store import PresetStore

    ranges = {
        "fast": {(10, 40): 6, (40, 70): 6},
        "balanced": {(15, 45): 6, (45, 70): 5},
        "faithful": {(20, 45): 5, (45, 70): 5},
    }
    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    runs = []
    for name, steps in ranges.items():
        config = store.get_family("Wan2.1_14b").attention_configs[name]
        found = estimate(config=config, plan=(20, 6 + sum(steps.values()), steps))
        assert "sets of settings" in found.step.note
        assert 1 < found.run.value < found.step.value
        runs.append(found.run.value)
    assert runs == sorted(runs, reverse=True)
