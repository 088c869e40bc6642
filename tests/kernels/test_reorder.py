"""Token orders: permutations of the video tokens, for every grid (section 1)."""

import itertools
import time
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import OrderState, PSAAttention, PSAConfig, psa_attention, release_orders
from psa_kernels.layout import Layout
from psa_kernels.reference import orders, reorder
from psa_kernels.reference.clusters import nearest, refine
from psa_kernels.reference.gilbert import gilbert_order
from psa_kernels.reference.semantic import by_cluster, gathers
from psa_kernels.reference.tiles import tile_order

VIDEO_GRIDS = [
    (21, 30, 52), (21, 45, 80), (13, 30, 45), (21, 45, 79), (20, 45, 81), (2, 45, 81), (4, 24, 24),
]  # fmt: skip
THIN_GRIDS = [(1, 1, 997), (1, 997, 1), (997, 1, 1), (1, 31, 37), (31, 1, 37), (2, 1, 101)]


def non_unit_steps(grid):
    """How many consecutive cells of the curve are no neighbours; also checks the bijection."""
    order = np.array(gilbert_order(grid))
    assert np.array_equal(np.sort(order), np.arange(np.prod(grid))), grid
    cells = np.stack(np.unravel_index(order, grid), axis=1)
    return int((np.abs(np.diff(cells, axis=0)).sum(axis=1) != 1).sum())


def test_gilbert_goes_by_unit_steps_through_every_grid_up_to_12():
    bad = {
        grid: steps
        for grid in itertools.product(range(1, 13), repeat=3)
        if (steps := non_unit_steps(grid))
    }
    assert bad == {}


@pytest.mark.parametrize("grid", VIDEO_GRIDS + THIN_GRIDS, ids=str)
def test_gilbert_goes_by_unit_steps_through_large_and_thin_grids(grid):
    assert non_unit_steps(grid) == 0


def test_gilbert_goes_by_unit_steps_through_random_grids():
    rng = np.random.default_rng(0)
    for grid in rng.integers(1, 40, (60, 3)).tolist():
        assert non_unit_steps(tuple(grid)) == 0, grid


@pytest.mark.parametrize("side", [2, 4, 8, 16])
def test_gilbert_is_a_hilbert_curve_on_cubes(side):
    """Every aligned run of 8^j tokens fills an aligned cube."""
    cells = np.stack(np.unravel_index(gilbert_order((side,) * 3), (side,) * 3), axis=1)
    edge = 2
    while edge <= side:
        cubes = (cells // edge).reshape(-1, edge**3, 3)
        assert (cubes == cubes[:, :1]).all()
        edge *= 2


def test_gilbert_720p_takes_well_under_a_second():
    start = time.process_time()
    gilbert_order((21, 45, 80))
    assert time.process_time() - start < 0.5


def test_sta_by_hand():
    # 3 x 5 in tiles of 2 x 2: the last column and the last row make smaller tiles
    #  0  1 |  2  3 |  4
    #  5  6 |  7  8 |  9
    # ------+-------+---
    # 10 11 | 12 13 | 14
    expected = [0, 1, 5, 6, 2, 3, 7, 8, 4, 9, 10, 11, 12, 13, 14]
    assert tile_order((1, 3, 5), (1, 2, 2)).tolist() == expected


def test_sta_in_depth_by_hand():
    # 3 frames of 1 x 3, tiles of 2 frames x 2 columns
    assert tile_order((3, 1, 3), (2, 8, 2)).tolist() == [0, 1, 3, 4, 2, 5, 6, 7, 8]


# --- the stage -------------------------------------------------------------------------------

GRID = (3, 7, 11)
TOKENS = 3 * 7 * 11


def scattered_kinds(batch, heads, length, dim=16, seed=0):
    """Tokens of a few kinds, without regard to place."""
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(6, dim, generator=generator)
    kind = torch.randint(6, (batch, heads, length), generator=generator)
    return (centres[kind] + torch.randn(batch, heads, length, dim, generator=generator)) / 4


def like_places(batch, heads, grid, dim=16):
    """Tokens that are alike where they are near: waves over the grid."""
    axes = torch.meshgrid(*(torch.arange(n) / 6 for n in grid), indexing="ij")
    place = torch.stack([axis.flatten() for axis in axes], 1)
    turns = torch.randn(3, dim, generator=torch.Generator().manual_seed(5))
    return (place @ turns).sin().expand(batch, heads, -1, -1)


def stage(method, extra=(0, 0), state=None, seed=0):
    length = TOKENS + sum(extra)
    q, k = scattered_kinds(2, 4, length, seed=seed), scattered_kinds(2, 2, length, seed=seed + 99)
    config = PSAConfig(rearrange_method=method, block_m=64, block_n=32)
    layout = Layout.of(q, k, k, config, grid=GRID, extra_tokens=extra)
    return reorder(q, k, layout, config, state)


@pytest.mark.parametrize("extra", [(0, 0), (5, 0), (3, 9)], ids=str)
@pytest.mark.parametrize("method", ["Gilbert", "STA", "SemanticAware", "Hybrid"])
def test_orders_are_permutations_of_the_video_tokens(method, extra):
    orders = stage(method, extra)
    for order, heads in ((orders.q, 4), (orders.k, 2)):
        assert order.dtype == torch.int64
        assert tuple(order.shape) in {(1, 1, TOKENS), (2, heads, TOKENS)}
        assert (order.sort().values == torch.arange(TOKENS)).all()


def test_no_method_or_rearrangement_off_is_raster_order():
    for config in (PSAConfig(), PSAConfig(rearrange_method="Gilbert", use_rearrange=False)):
        q = torch.randn(1, 1, TOKENS, 8)
        orders = reorder(q, q, Layout.of(q, q, q, config, grid=GRID), config)
        assert orders.q is None and orders.k is None


def test_hybrid_is_gilbert_for_queries_and_semantic_for_keys():
    hybrid = stage("Hybrid")
    assert torch.equal(hybrid.q, stage("Gilbert").q)
    assert torch.equal(hybrid.k, stage("SemanticAware").k)


def semantic(q, k, grid=None, state=None, method="SemanticAware"):
    config = PSAConfig(rearrange_method=method, block_m=64, block_n=32)
    return reorder(q, k, Layout.of(q, k, k, config, grid=grid), config, state)


def test_tokens_of_a_cluster_come_in_the_order_that_they_start_from():
    clusters = torch.arange(64)[None, None] * 7 % 4
    start = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    order = by_cluster(clusters, start[None, None])[0, 0]
    place = start.argsort()
    assert (clusters[0, 0][order].diff() != 0).sum() == 3
    assert all((place[order][clusters[0, 0][order] == x].diff() > 0).all() for x in range(4))


def test_scattered_kinds_come_together_in_gilbert_order():
    centres = torch.eye(8)
    kind = torch.randint(8, (TOKENS,), generator=torch.Generator().manual_seed(1))
    x = centres[kind][None, None]
    orders = semantic(x, x, GRID)
    place = stage("Gilbert").k[0, 0].argsort()
    for order in (orders.q[0, 0], orders.k[0, 0]):
        assert not torch.equal(order, stage("Gilbert").k[0, 0])
        # all tokens of a kind are in one cluster
        assert all((place[order][kind[order] == x].diff() > 0).all() for x in range(8))
    # no grid: raster order
    order = semantic(x, x).k[0, 0]
    assert all((order[kind[order] == x].diff() > 0).all() for x in range(8))


@pytest.mark.parametrize("method", ["SemanticAware", "Hybrid"])
def test_a_head_whose_keys_are_like_places_stays_in_gilbert_order(method):
    """Each head by itself; its queries follow the keys that they look at."""
    kinds = scattered_kinds(1, 1, TOKENS)
    k = torch.cat((kinds, like_places(1, 1, GRID)), 1)
    q = torch.cat((kinds, kinds, kinds, kinds), 1)
    orders, gilbert = semantic(q, k, GRID, method=method), stage("Gilbert").k[0, 0]
    assert not torch.equal(orders.k[0, 0], gilbert) and torch.equal(orders.k[0, 1], gilbert)
    if method == "SemanticAware":
        assert [torch.equal(x, gilbert) for x in orders.q[0]] == [False, False, True, True]


def test_channels_that_no_query_reads_do_not_count():
    kinds, places = scattered_kinds(1, 1, TOKENS), like_places(1, 1, GRID)
    k = torch.cat((kinds, 2 * places), 3)
    gilbert, order = stage("Gilbert").k, semantic(kinds, kinds, GRID).k
    config = PSAConfig(rearrange_method="SemanticAware")
    found = []
    for reads in ((1.0, 0.0), (1.0, 1.0)):
        q = torch.ones(1, 1, TOKENS, 32) * torch.tensor(reads).repeat_interleave(16)
        found.append(gathers(q, k, order, gilbert, Layout.of(q, k, k, config, grid=GRID)).item())
    assert found == [True, False]


def test_keys_too_far_apart_to_be_pooled_stay_where_they_are():
    kinds, gilbert = scattered_kinds(1, 1, TOKENS), stage("Gilbert").k
    orders = [semantic(gain * kinds, kinds, GRID).k for gain in (1, 20)]
    assert [torch.equal(x, gilbert) for x in orders] == [False, True]


@settings(max_examples=60, deadline=None)
@given(
    grid=st.tuples(*(st.integers(1, 7),) * 3),
    extra=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    kv_heads=st.integers(1, 2),
    group=st.integers(1, 2),
    odd=st.sampled_from(["", "constant", "nan", "zero queries"]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    with_grid=st.booleans(),
)
def test_semantic_orders_of_odd_inputs_are_permutations(
    grid, extra, kv_heads, group, odd, dtype, with_grid
):
    tokens = int(np.prod(grid))
    length = tokens + sum(extra)
    q = scattered_kinds(2, kv_heads * group, length).to(dtype)
    k = scattered_kinds(2, kv_heads, length, seed=1).to(dtype)
    if odd == "constant":
        k = torch.ones_like(k)
    elif odd == "nan":
        k[0, 0, 0] = torch.nan
    elif odd == "zero queries":
        q = torch.zeros_like(q)
    config = PSAConfig(rearrange_method="SemanticAware", block_m=64, block_n=32)
    layout = Layout.of(q, k, k, config, grid=grid if with_grid else None, extra_tokens=extra)
    state = OrderState()
    for _ in range(2):
        orders = reorder(q, k, layout, config, state)
        assert orders.q.shape == (2, kv_heads * group, tokens)
        assert orders.k.shape == (2, kv_heads, tokens)
        for order in (orders.q, orders.k):
            assert (order.sort().values == torch.arange(tokens)).all()


def test_k_means_finds_kinds():
    centres = torch.eye(4) * 10
    kind = torch.arange(64) * 7 % 4
    tokens = centres[kind] + 0.1 * torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    labels = nearest(tokens, refine(tokens, tokens[:4].clone(), rounds=5))
    # cluster i began as token i, whose kind is its name
    assert torch.equal(kind[:4][labels], kind)


def test_an_empty_cluster_keeps_its_centroid():
    tokens = torch.randn(20, 3, generator=torch.Generator().manual_seed(2))
    far = torch.full((1, 3), 1e3)
    refined = refine(tokens, torch.cat((tokens[:2], far)), rounds=4)
    assert torch.equal(refined[2:], far)
    assert torch.isfinite(refined).all()


@pytest.fixture
def curves(monkeypatch):
    """The grids that a Gilbert curve was made for, with nothing kept from before."""
    made = []
    monkeypatch.setattr(
        orders, "gilbert_order", lambda grid: made.append(grid) or gilbert_order(grid)
    )
    orders.static_order.cache_clear()
    release_orders()
    yield made
    orders.static_order.cache_clear()
    release_orders()


def test_a_curve_is_made_once_and_the_copy_on_the_device_let_go_on_request(curves):
    first = stage("Gilbert").q
    assert stage("Gilbert").q is first and stage("Hybrid").q is first
    copy, values = weakref.ref(first), first.tolist()
    del first
    assert copy() is not None
    release_orders()
    assert copy() is None
    assert stage("Gilbert").q.tolist() == values
    assert curves == [GRID]


def test_many_other_grids_let_no_copy_go(curves):
    """A CUDA graph that was captured with it would read freed memory."""
    first = stage("Gilbert").q
    for width in range(1, 40):
        orders.order_on(first.device, "Gilbert", (1, 1, width), (1, 1, 1))
    assert stage("Gilbert").q is first


@pytest.mark.parametrize("method", ["Gilbert", "STA"])
def test_what_is_kept_for_the_process_lies_on_the_cpu(curves, method):
    """Whatever the caller's default device is."""
    with torch.device("meta"):
        order = orders.static_order(method, GRID, (2, 2, 2))
    assert order.device.type == "cpu" and not order.is_inference()
    assert order.sort().values.tolist() == list(range(TOKENS))


@pytest.mark.gpu
def test_gpu_memory_of_an_order_comes_back(curves):
    q = torch.randn(1, 1, 96 * 96 * 20, 16, device="cuda")
    config = PSAConfig(rearrange_method="Gilbert")
    layout = Layout.of(q, q, q, config, grid=(20, 96, 96))
    before = torch.cuda.memory_allocated()
    reorder(q, q, layout, config)
    assert torch.cuda.memory_allocated() >= before + 8 * q.shape[2]
    release_orders()
    assert torch.cuda.memory_allocated() == before


@pytest.mark.parametrize("method", ["SemanticAware", "Hybrid"])
def test_centroids_carry_over_and_reset_forgets_them(method):
    state = OrderState()
    first = stage(method, state=state, seed=0)
    second = stage(method, state=state, seed=1)
    assert not torch.equal(second.k, stage(method, seed=1).k)  # the first step had an influence
    state.reset()
    again = stage(method, state=state, seed=0)
    assert torch.equal(again.k, first.k) and torch.equal(again.q, first.q)


def test_centroids_of_another_shape_are_ignored():
    state = OrderState()
    stage("SemanticAware", state=state)
    config = PSAConfig(rearrange_method="SemanticAware", block_m=64, block_n=32)
    for length in (40, 300, 310):  # the last two have as many clusters
        other = scattered_kinds(1, 1, length, seed=3 + length)
        layout = Layout.of(other, other, other, config)
        carried = reorder(other, other, layout, config, state)
        fresh = reorder(other, other, layout, config)
        assert torch.equal(carried.q, fresh.q) and torch.equal(carried.k, fresh.k)


def test_module_carries_its_state_and_the_function_does_not():
    steps = [scattered_kinds(1, 2, 300, seed=seed) for seed in (4, 5)]
    config = PSAConfig(rearrange_method="SemanticAware", block_m=64, block_n=32)
    psa = PSAAttention(config)
    in_run = [psa(x, x, x) for x in steps]
    alone = [psa_attention(x, x, x, config=config) for x in steps]
    assert torch.equal(in_run[0], alone[0])
    assert not torch.equal(in_run[1], alone[1])
    psa.reset()
    assert torch.equal(psa(steps[1], steps[1], steps[1]), alone[1])
