"""What is kept of a step, and which calls may use it (section 3b)."""

from types import ModuleType

import pytest
import torch

from psa_kernels import OrderState, PSAAttention, attention, order_state, psa_attention, reference
from psa_kernels.attention import run_stages
from psa_kernels.layout import Layout

from .stepped import ALL, CONFIG, GRID, call, made_in, tensors

torch.set_num_threads(1)


@pytest.fixture
def state(made):
    """After three steps, that keeps the groups and the plan of the second; `made` is empty."""
    kept = OrderState()
    assert made_in(made, kept, range(3)) == [ALL, ALL, []]
    made.clear()
    return kept


def twin():
    """Another implementation of the same stages."""
    package = ModuleType("twin")
    package.__dict__.update({name: getattr(reference, name) for name in reference.__all__})
    return package


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
    layout = Layout.of(*tensors(), CONFIG, grid=GRID)
    q, k, v = tensors(2)
    orders = reference.reorder(q, k, layout, CONFIG)
    groups = reference.group_keys(*tensors(1), orders, layout, CONFIG)
    pyramid = reference.build_pyramid(k, v, orders, layout, CONFIG, groups)
    wanted = reference.attend(q, pyramid, outs[1][1].plan, orders, layout, CONFIG, 16**-0.5)
    assert torch.equal(out, wanted)


def test_a_changed_configuration_remakes_the_plan_and_keeps_the_groups(made, state):
    changed = CONFIG.replace(mask_ratios={1: (0, 0.5), 8: (0.5, 0.6), 0: (0.6, 1)})
    _, stats = call(state, 3, config=changed, return_stats=True)
    assert made == ["importance", "levels"]
    _, alone = call(OrderState(), 3, config=changed, return_stats=True)
    assert stats.per_level == alone.per_level
    # the groups' time runs on, that of the new plan begins
    assert made_in(made, state, [4], config=changed) == [["groups"]]


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
def test_another_layout_starts_anew(made, state, other):
    out = call(state, 3, **other)
    assert made == ALL
    assert torch.equal(out, call(OrderState(), 3, **other))


def test_settings_that_pool_more_finely_remake_the_groups(made):
    """Sets are cut no further than the smallest groups that are read."""
    coarse = CONFIG.replace(mask_ratios={1: (0, 0.5), 8: (0.5, 1)})
    fine = CONFIG.replace(mask_ratios={1: (0, 0.5), 4: (0.5, 1)})
    state = OrderState()
    assert made_in(made, state, range(3), config=coarse) == [ALL, ALL, []]
    out = call(state, 3, config=fine)
    assert made == ALL
    assert torch.equal(out, call(OrderState(), 3, config=fine))


def test_another_tile_of_the_sta_order_starts_anew(made):
    config = CONFIG.replace(rearrange_method="STA", tile_size=(2, 2, 2))
    state = OrderState()
    assert made_in(made, state, range(3), config=config) == [ALL, ALL, []]
    assert made_in(made, state, [3], config=config.replace(tile_size=(2, 4, 2))) == [ALL]


def test_another_implementation_gets_no_plan_of_this_one(made, state):
    """A plan means nothing outside the implementation that made it."""
    layout = Layout.of(*tensors(), CONFIG, grid=GRID)
    run_stages(twin(), *tensors(), layout, CONFIG, 0.25, state)
    assert made == ALL


def test_groups_of_heads_keep_a_plan_each(made):
    """An implementation may take the heads in parts, to save memory."""
    parts = twin()
    parts.head_groups = lambda *_: [slice(0, 1), slice(1, 2)]
    layout = Layout.of(*tensors(), CONFIG, grid=GRID)
    state, found = OrderState(), []
    for step in range(4):
        made.clear()
        state.begin(step)
        out, plan = run_stages(parts, *tensors(step), layout, CONFIG, 0.25, state)
        found.append(made.count("levels"))
        assert plan.levels().shape[1] == 2
        if step < 2:
            assert torch.equal(out, call(None, step))
    assert found == [2, 2, 0, 0]


@pytest.mark.parametrize("order", ["SemanticAware", "Hybrid"])
def test_orders_that_move_tokens_keep_nothing(made, order):
    config = CONFIG.replace(rearrange_method=order)
    assert made_in(made, OrderState(), range(5), config=config) == [ALL] * 5


def test_neighbours_keep_nothing(made):
    """`refresh` stands in every configuration; a workflow saved before must give the same bits."""
    config = CONFIG.replace(grouping="order", refresh=100)
    state = OrderState()
    for step in range(5):
        made.clear()
        out = call(state, step, config=config)
        assert made == ["importance", "levels"]
        assert torch.equal(out, call(None, step, config=config))


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


def test_a_call_of_a_graph_goes_on_from_no_centroids(monkeypatch):
    """Without a GPU only what follows from it; test_gpu.py captures a real one."""
    config = CONFIG.replace(rearrange_method="SemanticAware", grouping="order")
    state = OrderState()
    psa_attention(*tensors(), grid=GRID, config=config, state=state)
    before = dict(state._centroids)
    with monkeypatch.context() as patch:
        for module in (order_state, attention):
            patch.setattr(module, "captured", lambda device: True)
        q, k, v = tensors(1)
        found = psa_attention(q, k, v, grid=GRID, config=config, state=state)
    assert torch.equal(found, psa_attention(q, k, v, grid=GRID, config=config))
    assert before and state._centroids == before


def test_a_call_of_a_graph_keeps_and_reads_nothing(made, state, monkeypatch):
    """Without a GPU only what follows from it; test_gpu.py captures a real one."""
    with monkeypatch.context() as patch:
        patch.setattr(order_state, "captured", lambda device: True)
        assert torch.equal(call(state, 3), call(None, 3))
    assert made == 2 * ALL
    assert made_in(made, state, [3]) == [[]]  # step 1's groups are still there
