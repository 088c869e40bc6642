"""Groups of like keys in real runs: which steps make new ones, and what becomes of the old."""

import gc
from collections import Counter

import pytest
import torch

from .sampling import Spy, agree, in_windows, run_of, sparse_config

BLOCKS = 2
SIMILAR = {"grouping": "similar", "refresh": 3, "second_moment": True, "warmup_steps": 1}
STEPS, ANEW = 6, [1, 2, 5]  # the first step is dense


def similar(**changes):
    return sparse_config(**{**SIMILAR, **changes})


def groups_alive():
    from psa_kernels.stages import Groups

    gc.collect()
    return sum(type(x) is Groups for x in gc.get_objects())


@pytest.fixture
def made(monkeypatch, served_calls_only):
    """(name, step, bytes) of the groups and plans that were made anew, in order."""
    from psa_kernels import OrderState

    found, steps = [], {}
    begin, remember = OrderState.begin, OrderState.remember

    def beginning(self, step):
        steps[id(self)] = step
        begin(self, step)

    def remembering(self, name, what_for, value, size):
        found.append((name, steps[id(self)], size))
        remember(self, name, what_for, value, size)

    monkeypatch.setattr(OrderState, "begin", beginning)
    monkeypatch.setattr(OrderState, "remember", remembering)
    return found


def steps_of(made, name="groups"):
    """step -> how many calls made `name` anew."""
    return dict(Counter(step for what, step, _ in made if what == name))


def test_the_first_sparse_steps_make_groups_and_then_every_so_many(bench, made):
    """For each of the two conditions of guidance, which ComfyUI cannot put into one call here."""
    patched = bench.patch(similar())
    results = []
    for _ in range(2):  # nothing is carried from run to run
        made.clear()
        spy = Spy()
        results.append(bench.sample(spy.on(patched), steps=STEPS, text_tokens=(16, 17)))
        anew = dict.fromkeys(ANEW, 2 * BLOCKS)
        assert steps_of(made, "groups") == steps_of(made, "plan") == anew
        agree(bench.report, spy)
        assert bench.report["calls"]["sparse"] == 2 * (STEPS - 1) * BLOCKS
    assert torch.equal(*results)


def test_keeping_and_grouping_make_a_difference(bench):
    """What the bit-identities here are measured against."""
    outs = [
        bench.sample(bench.patch(config), steps=5)
        for config in (similar(), similar(refresh=1), similar(grouping="order"))
    ]
    assert not any(torch.equal(a, b) for a, b in zip(outs, outs[1:] + outs[:1], strict=True))


def test_refresh_says_nothing_of_neighbours(bench, made):
    plain, other = (
        bench.sample(bench.patch(similar(grouping="order", refresh=n))) for n in (1, 100)
    )
    assert torch.equal(plain, other) and not made


def test_both_calls_of_a_step_share(bench, made):
    """A sampler that asks the model twice: at a step's noise level, and at the next one's."""
    bench.sample(bench.patch(similar()), steps=STEPS, sampler="heun")
    assert steps_of(made, "groups") == steps_of(made, "plan") == dict.fromkeys(ANEW, BLOCKS)
    assert bench.report["calls"]["sparse"] > (STEPS - 1) * BLOCKS


def test_skip_layer_guidance_takes_nothing_from_other_layers(bench, made):
    """It calls the model a third time with the same condition, and without one of its blocks."""
    import comfy.samplers

    def guided(args):
        model_options = comfy.model_patcher.set_model_options_patch_replace(
            {**args["model_options"]}, lambda given, extra: given, "dit", "double_block", 0
        )
        conds = [args["cond"]]
        comfy.samplers.calc_cond_batch(
            args["model"], conds, args["input"], args["sigma"], model_options
        )
        return args["denoised"]

    plain, guided_model = bench.model.clone(), bench.model.clone()
    guided_model.set_model_sampler_post_cfg_function(guided)
    outs, counts = [], []
    for model in (plain, guided_model):
        made.clear()
        outs.append(bench.sample(bench.patch(similar(), model=model), steps=STEPS))
        counts.append(steps_of(made))
    # what the extra calls make is nobody's, and the run's own calls are as without them
    assert torch.equal(*outs)
    assert set(counts[1]) == set(range(1, STEPS)) and counts[0] == dict.fromkeys(ANEW, BLOCKS)


def test_parts_of_a_latent_keep_their_groups_apart(bench, made):
    """A pack that calls the model for tiles: in each step the second has other tokens."""

    def tiled(apply_model, args):
        first = apply_model(args["input"], args["timestep"], **args["c"])
        other = apply_model(args["input"].flip(-1), args["timestep"], **args["c"])
        assert not torch.equal(first, other)
        return first

    model = bench.model.clone()
    model.set_model_unet_function_wrapper(tiled)
    plain = bench.sample(bench.patch(similar()), steps=STEPS)
    parts = bench.sample(bench.patch(similar(), model=model), steps=STEPS)
    assert torch.equal(plain, parts)


def test_each_part_of_a_split_run_begins_anew(bench, made):
    patched = bench.patch(similar(warmup_steps=0))
    bench.sample(patched, steps=8, start_step=0, last_step=4, force_full_denoise=False)
    assert list(steps_of(made)) == [0, 1]
    made.clear()
    bench.sample(patched, steps=8, start_step=4, last_step=8, disable_noise=True)
    assert list(steps_of(made)) == [0, 1]


def test_stepping_aside_lets_go_at_once(bench, failing):
    patched = bench.patch(similar())
    undisturbed = bench.sample(patched, steps=5)
    # block 0 of the third sparse step
    failing(5, lambda: RuntimeError("no kernel for this GPU"))
    alive = []
    out = bench.sample(patched, steps=5, callback=lambda *_: alive.append(groups_alive()))
    assert torch.isfinite(out).all() and not torch.equal(out, undisturbed)
    assert "no kernel" in bench.report["failure"]
    assert alive == [0, BLOCKS, BLOCKS, 0, 0]
    assert torch.equal(bench.sample(patched, steps=5), undisturbed)


# ComfyUI indexes with a list
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_context_windows_keep_nothing(bench, made, comfy_inproc):
    """Windows of a long video share conditions and step, and have other keys."""
    comfy_inproc.load_pack()
    outs = []
    for refresh in (1, 100):
        windowed = in_windows(bench.patch(similar(refresh=refresh)))
        outs.append(bench.sample(windowed, shape=(1, 16, 5, 16, 16), steps=4, cfg=1.0))
        assert bench.report["calls"]["sparse"] > 3 * BLOCKS and bench.report["failure"] is None
    assert torch.equal(*outs) and not made


# --- the bound ----------------------------------------------------------------------------------


@pytest.fixture
def bound(monkeypatch):
    """bound(groups, plan): how many bytes of them a run may keep."""
    from psa_engines.core import run

    def arrange(groups, plan):
        monkeypatch.setattr(run, "_memory", lambda device: 1)
        monkeypatch.setattr(run, "MOST_KEPT", {"groups": groups, "plan": plan})

    return arrange


def test_without_room_a_run_is_as_with_everything_anew(bench, made, bound):
    expected = bench.sample(bench.patch(similar(refresh=1)), steps=5)
    made.clear()
    bound(0, 0)
    out = bench.sample(bench.patch(similar()), steps=5)
    assert torch.equal(out, expected)
    assert steps_of(made, "groups") == steps_of(made, "plan") == dict.fromkeys(range(1, 5), BLOCKS)


def test_what_finds_no_room_is_made_anew_and_the_rest_is_kept(bench, made, bound):
    """Room for one block's: the other block's are made in each step. Granted room is used again."""
    patched = bench.patch(similar())
    bench.sample(patched, steps=STEPS)
    sizes = {}
    for name, _, size in made:
        sizes[name] = max(size, sizes.get(name, 0))
    for name, other in (("groups", "plan"), ("plan", "groups")):
        bound(**{name: 2 * sizes[name] - 1, other: 2**30})
        for _ in range(2):  # a run gives back what it had
            made.clear()
            bench.sample(patched, steps=STEPS)
            assert steps_of(made, other) == dict.fromkeys(ANEW, BLOCKS)
            kept = dict.fromkeys(range(1, STEPS), 1) | dict.fromkeys(ANEW, BLOCKS)
            assert steps_of(made, name) == kept


def test_a_run_keeps_no_more_than_it_may(bench):
    """Of the bound itself, at the sizes of a large model."""
    from psa_engines.core import run

    device = torch.device("cpu")
    one = run_of((), similar())
    most = run._memory(device) * run.MOST_KEPT["groups"]
    size = int(most / 40) + 1
    kept = 0
    for block in range(60):
        state = one.order_state(("key", block), device)
        assert state is one.order_state(("key", block), device)
        for step in range(3):
            state.begin(step)
            state.remember("groups", "this", block, size)
        kept += state.recall("groups", "this", 4) is not None
    assert kept == 39 and kept * size <= most
    one.order_state(("key", 0), device).remember("plan", "this", 0, size)  # has room of its own
    one.end()
    state = one.order_state(("key", 59), device)
    state.begin(0)
    state.remember("groups", "this", 59, size)
    assert state.recall("groups", "this", 4) == 59
