"""For how many steps groups and plans are kept (section 3b), and when they are not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import OrderState, PSAAttention, PSAConfig, order_state, psa_attention, reference

torch.set_num_threads(1)

CONFIG = PSAConfig(
    block_n=32, tile_n=16, grouping="similar", refresh=3, tail=16, second_moment=True,
    mask_ratios={1: (0, 0.3), 8: (0.3, 0.6), 0: (0.6, 1)}, rearrange_method="Gilbert",
)  # fmt: skip
GRID = (4, 6, 8)


@pytest.fixture
def made(monkeypatch):
    """The stages that were run, in order: "groups", "importance" or "levels"."""
    found = []
    for stage, name in (
        ("group_keys", "groups"), ("importance", "importance"), ("assign_levels", "levels"),
    ):  # fmt: skip
        real = getattr(reference, stage)

        def counting(*args, real=real, name=name):
            found.append(name)
            return real(*args)

        monkeypatch.setattr(reference, stage, counting)
    return found


def tensors(step=0, dtype=torch.float32, grid=GRID):
    """q, k, v that drift from step to step."""
    rng = torch.Generator().manual_seed(0)
    shape = 1, 2, grid[0] * grid[1] * grid[2], 16
    first, drift = torch.randn(2, 3, *shape, generator=rng)
    return (first + 0.3 * step * drift).to(dtype)


def call(state, step=None, config=CONFIG, inputs=None, **keywords):
    q, k, v = tensors(step or 0) if inputs is None else inputs
    grid = keywords.pop("grid", GRID)
    return psa_attention(q, k, v, config=config, grid=grid, state=state, step=step, **keywords)


def steps_that(made, what, state, steps, **keywords):
    """Those of `steps` in whose call `what` was made."""
    found = []
    for step in steps:
        made.clear()
        call(state, step, **keywords)
        if what in made:
            found.append(step)
    return found


ALL = ["groups", "importance", "levels"]


@pytest.mark.parametrize("what", ALL)
@pytest.mark.parametrize(
    ("refresh", "anew"),
    [(1, list(range(9))), (2, [0, 1, 3, 5, 7]), (3, [0, 1, 4, 7]), (100, [0, 1])],
)
def test_the_first_two_steps_and_then_every_so_many(made, what, refresh, anew):
    config = CONFIG.replace(refresh=refresh)
    assert steps_that(made, what, OrderState(), range(9), config=config) == anew


def test_the_steps_counted_are_the_sparse_ones(made):
    """Whatever numbers they have: the first ones of a run may have been dense, or some between."""
    found = steps_that(made, "groups", OrderState(), [5, 6, 9, 10, 14, 15])
    assert found == [5, 6, 14]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(1, 3), min_size=1, max_size=25))
def test_an_item_serves_as_many_steps_as_refresh_says(refresh, calls_of_step):
    """Of the state alone: `calls_of_step` calls in each step, all of which ask and keep."""
    state, made = OrderState(), []
    for step, calls in enumerate(calls_of_step):
        for _ in range(calls):
            state.begin(step)
            found = state.recall("groups", "this", refresh)
            if found is None:
                made.append(step)
                state.remember("groups", "this", step, 0)
            else:
                assert 0 <= step - found < refresh
                assert found == step or found >= 1  # the first step's serve that step only
    every = range(len(calls_of_step))
    assert made == [i for i in every if i < 2 or (i - 1) % refresh == 0]


def test_calls_of_one_step_share(made):
    """As of a sampler that asks the model twice in a step."""
    state = OrderState()
    found = []
    for step in (0, 0, 1, 1, 2, 2, 3, 3, 4, 4):
        made.clear()
        call(state, step)
        found.append(list(made))
    assert found == [ALL, [], ALL, [], [], [], [], [], ALL, []]


def test_calls_without_a_number_are_steps(made):
    psa = PSAAttention(CONFIG)
    found = []
    for _ in range(6):
        made.clear()
        psa(*tensors(), grid=GRID)
        found.append(bool(made))
    assert found == [True, True, False, False, True, False]
    psa.reset()
    found.clear()
    for _ in range(4):
        made.clear()
        psa(*tensors(), grid=GRID)
        found.append(bool(made))
    assert found == [True, True, False, False]


def test_what_is_kept_is_what_is_used():
    """The groups and levels of step 1 on the keys of step 2: not those of step 2, nor its keys."""
    state = OrderState()
    outs = [call(state, step, return_stats=True) for step in range(3)]
    fresh = [call(OrderState(), step, return_stats=True) for step in range(3)]
    for (out, stats), (alone, alone_stats) in zip(outs[:2], fresh[:2], strict=True):
        assert torch.equal(out, alone) and torch.equal(stats.levels, alone_stats.levels)
    (out, stats), (alone, alone_stats) = outs[2], fresh[2]
    assert torch.equal(stats.levels, outs[1][1].levels)
    assert not torch.equal(stats.levels, alone_stats.levels)
    assert not torch.equal(out, alone)
    assert not torch.equal(out, outs[1][0])
    # by hand, of the stages
    from psa_kernels.layout import Layout

    layout = Layout.of(*tensors(), CONFIG, grid=GRID)
    q, k, v = tensors(2)
    orders = reference.reorder(q, k, layout, CONFIG)
    groups = reference.group_keys(*tensors(1), orders, layout, CONFIG)
    pyramid = reference.build_pyramid(k, v, orders, layout, CONFIG, groups)
    wanted = reference.attend(q, pyramid, outs[1][1].plan, orders, layout, CONFIG, 16**-0.5)
    assert torch.equal(out, wanted)


def test_a_changed_configuration_remakes_the_plan_and_keeps_the_groups(made):
    state = OrderState()
    for step in range(3):
        call(state, step)
    made.clear()
    changed = CONFIG.replace(mask_ratios={1: (0, 0.5), 8: (0.5, 0.6), 0: (0.6, 1)})
    _, stats = call(state, 3, config=changed, return_stats=True)
    assert made == ["importance", "levels"]
    _, alone = call(OrderState(), 3, config=changed, return_stats=True)
    assert stats.per_level == alone.per_level
    # the groups' time runs on, that of the new plan begins
    made.clear()
    call(state, 4, config=changed)
    assert made == ["groups"]


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": tensors(grid=(3, 6, 8)), "grid": (3, 6, 8)},
        {"grid": (6, 4, 8)},
        {"grid": (4, 5, 8), "extra_tokens": (2, 30)},
        {"config": CONFIG.replace(block_n=64)},
        {"config": CONFIG.replace(rearrange_method="STA")},
        {"config": CONFIG.replace(use_rearrange=False)},
        {"inputs": tensors(dtype=torch.float64)},
    ],
    ids=["size", "grid", "extra tokens", "block size", "order", "raster order", "dtype"],
)
def test_another_layout_starts_anew(made, other):
    state = OrderState()
    for step in range(3):
        call(state, step)
    made.clear()
    out = call(state, 3, **other)
    assert made == ALL
    assert torch.equal(out, call(OrderState(), 3, **other))


def test_another_tile_of_the_sta_order_starts_anew(made):
    config = CONFIG.replace(rearrange_method="STA", tile_size=(2, 2, 2))
    state = OrderState()
    for step in range(3):
        call(state, step, config=config)
    made.clear()
    call(state, 3, config=config.replace(tile_size=(2, 4, 2)))
    assert made == ALL


def test_another_implementation_gets_no_plan_of_this_one(made):
    """A plan means nothing outside the implementation that made it."""
    from types import ModuleType

    from psa_kernels.attention import run_stages
    from psa_kernels.layout import Layout

    twin = ModuleType("twin")
    twin.__dict__.update({name: getattr(reference, name) for name in reference.__all__})
    state = OrderState()
    for step in range(3):
        call(state, step)
    made.clear()
    layout = Layout.of(*tensors(), CONFIG, grid=GRID)
    run_stages(twin, *tensors(), layout, CONFIG, 0.25, state)
    assert made == ALL


@pytest.mark.parametrize("order", ["SemanticAware", "Hybrid"])
def test_orders_that_move_tokens_keep_nothing(made, order):
    config = CONFIG.replace(rearrange_method=order)
    found = steps_that(made, "groups", OrderState(), range(5), config=config)
    assert found == list(range(5))


def test_neighbours_keep_nothing(made):
    """`refresh` stands in every configuration; a workflow saved before must give the same bits."""
    config = CONFIG.replace(grouping="order", refresh=100)
    state = OrderState()
    for step in range(5):
        made.clear()
        out = call(state, step, config=config)
        assert made == ["importance", "levels"]
        assert torch.equal(out, call(None, step, config=config))


@pytest.mark.parametrize("refused", ["groups", "plan", "both"])
def test_without_room_things_are_made_anew_and_nothing_else_changes(made, refused):
    asked = []

    def room(name, size):
        asked.append((name, size))
        return refused not in (name, "both")

    state = OrderState(room)
    found = []
    for step in range(5):
        made.clear()
        out = call(state, step)
        found.append(list(made))
        if refused == "both":
            assert torch.equal(out, call(None, step))
    kept = {"groups": ALL[1:], "plan": ALL[:1], "both": []}[refused]
    anew = [x for x in ALL if x not in kept]
    assert found == [ALL, ALL, anew, anew, ALL]
    # a byte for each key of each head, beside float32 weights; a byte for each pair of blocks
    sizes = {"groups": 2 * 192 + 2 * 16 * 4, "plan": 2 * 2 * 6 + 2 * 2 * 5 * 4}
    assert set(asked) == set(sizes.items())
    # room that was granted is not asked for again; room that was refused is
    for name in sizes:
        times = 1 if refused not in (name, "both") else found.count(ALL) if name in kept else 5
        assert len([x for x in asked if x[0] == name]) == times


def test_more_room_is_asked_for_only_as_far_as_it_grows():
    asked = []
    state = OrderState(lambda name, size: asked.append(size) or sum(asked) <= 100)
    for size, item in ((40, "a"), (70, "b"), (50, "c"), (120, "d"), (70, "e")):
        state.begin(None)
        state.remember("plan", None, item, size)
        assert state.recall("plan", None, 2) == (item if item != "d" else None)
    assert asked == [40, 30, 50]


def test_the_first_call_of_a_state_depends_on_its_inputs_alone():
    state = OrderState()
    runs = []
    for _ in range(2):
        runs.append([call(state, step) for step in range(6)])
        state.reset()
    assert all(map(torch.equal, *runs))


def test_a_compiled_module_keeps_nothing(made):
    psa = PSAAttention(CONFIG)
    compiled = torch.compile(
        lambda q, k, v: psa(q, k, v, grid=GRID), fullgraph=True, backend="aot_eager"
    )
    for step in range(4):
        made.clear()
        out = compiled(*tensors(step))
        assert made[:3] == ALL
        assert torch.equal(out, call(None, step))
    # nor has it touched what the module keeps for calls that are not compiled
    made.clear()
    psa(*tensors(), grid=GRID)
    assert made == ALL


def test_a_call_of_a_graph_keeps_and_reads_nothing(made, monkeypatch):
    """Without a GPU only what follows from it; test_gpu.py captures a real one."""
    state = OrderState()
    for step in range(3):
        call(state, step)
    made.clear()
    with monkeypatch.context() as patch:
        patch.setattr(order_state, "_captured", lambda device: True)
        assert torch.equal(call(state, 3), call(None, 3))
    assert made == 2 * ALL
    made.clear()
    call(state, 3)  # step 1's groups are still there
    assert made == []


def test_a_failed_call_leaves_a_state_that_works(monkeypatch):
    state = OrderState()
    call(state, 0)
    with monkeypatch.context() as patch:
        patch.setattr(reference, "assign_levels", None)
        with pytest.raises(TypeError):
            call(state, 1)
    assert torch.equal(call(state, 1), call(None, 1))
