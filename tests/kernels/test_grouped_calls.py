"""What the stages make of groups of like keys (sections 3b, 6c, 8 and 9)."""

import pytest
import torch

from psa_kernels import OrderState, PSAConfig, psa_attention, reference
from psa_kernels.layout import Layout
from psa_kernels.reference.pyramid import pool
from psa_kernels.stages import Groups, Orders

torch.set_num_threads(1)

N = 32
ALL_8 = {8: (0, 1)}


def similar(**settings):
    return PSAConfig(
        **{"block_n": N, "tile_n": 16, "grouping": "similar", "second_moment": True, **settings}
    )


def normal(*shapes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def pyramid_of(k, v, groups):
    config = similar()
    layout = Layout.of(k, k, v, config)
    return reference.build_pyramid(k, v, Orders(), layout, config, groups)


def by_hand():
    """Two whole blocks in places of our choice, a short one of 12, and uneven channel weights.

    Token t is (t, 0.1 t): the groups of 8 are the tokens t, t + 4, t + 8, ... of a block.
    """
    t = torch.arange(2 * N + 12, dtype=torch.float64)
    k = torch.stack((t, 0.1 * t), 1)[None, None]
    places = torch.arange(N).view(8, 4).T.flatten().repeat(2)[None, None].to(torch.uint8)
    groups = Groups(places, torch.tensor([[[0.5, 1.5]]], dtype=torch.float64))
    return k, groups


def test_means_by_hand():
    k, groups = by_hand()
    pyramid = pyramid_of(k, 2 * k, groups)
    for rows, factor in ((pyramid.keys(0, 0), 1), (pyramid.values(0, 0), 2)):
        means = pool(pyramid.grouped(0, 0, rows), 8)[:, 0]
        # 0, 4, ... 28 have mean 14; the short block stays as it is: 64 to 71, 72 to 75
        wanted = [14, 15, 16, 17, 46, 47, 48, 49, 67.5, 73.5]
        torch.testing.assert_close(means, factor * torch.tensor(wanted, dtype=torch.float64))


def test_spread_by_hand():
    k, groups = by_hand()
    pyramid = pyramid_of(k, k, groups)
    keys = pyramid.grouped(0, 0, pyramid.keys(0, 0))

    def spread(size):
        return pyramid.spread(0, 0, keys, pool(keys, size), size).tolist()

    # squares of the deviations from 0, 4, ... 28: on average 84 in the first channel, 0.84 in the
    # other, weighted; plain in the short block, of 8 neighbours and of 4
    weighted, plain, four = (0.5 * 84 + 1.5 * 0.84) / 2, 5.25 * 1.01 / 2, 1.25 * 1.01 / 2
    assert spread(8) == pytest.approx([weighted] * 8 + [plain, four])
    # pairs t and t + 4
    pair = (0.5 * 4 + 1.5 * 0.04) / 2
    assert spread(2) == pytest.approx([pair] * 32 + [0.25 * 1.01 / 2] * 6)
    # a whole block as one group has no choice of members: the plain mean
    whole = (N**2 - 1) / 12 * 1.01 / 2
    assert spread(N) == pytest.approx([whole] * 2 + [(12**2 - 1) / 12 * 1.01 / 2])
    # half a block: t = 0, 1, 4, 5, ... 28, 29 and so on
    t = torch.arange(0, N, 4, dtype=torch.float64)
    half = float(torch.cat((t, t + 1)).var(correction=0)) * (0.5 + 1.5 * 0.01) / 2
    assert spread(16) == pytest.approx([half] * 4 + [(12**2 - 1) / 12 * 1.01 / 2])


def test_a_dense_configuration_groups_nothing(monkeypatch):
    monkeypatch.setattr(reference, "group_keys", None)
    q, k, v = normal(*[(1, 1, 100, 8)] * 3)
    out = psa_attention(q, k, v, config=similar(type="dense", tail=16))
    torch.testing.assert_close(out, torch.nn.functional.scaled_dot_product_attention(q, k, v))


def test_like_keys_make_a_difference_and_a_gain():
    """Kinds of tokens that lie scattered: their means say something once they are together."""
    kinds = torch.arange(256) * 7 % 4
    rng = torch.Generator().manual_seed(0)
    centres = 3 * torch.randn(2, 1, 1, 4, 16, generator=rng)
    q, k, v = normal(*[(1, 1, 256, 16)] * 3, dtype=torch.float32)
    k, v = (centre[:, :, kinds] + 0.3 * x for centre, x in zip(centres, (k, v), strict=True))
    dense = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    errors = {
        grouping: float((psa_attention(q, k, v, config=config) - dense).norm() / dense.norm())
        for grouping in ("order", "similar")
        for config in [similar(grouping=grouping, mask_ratios=ALL_8, second_moment=False)]
    }
    assert errors["similar"] < 0.25 * errors["order"]


def test_places_need_not_be_those_of_the_reference():
    """An implementation may have an order of its own: what is computed is the section with it."""
    q, k, v = normal(*[(1, 2, 96, 8)] * 3)
    config = similar(mask_ratios=ALL_8)
    layout = Layout.of(q, k, v, config)
    made = reference.group_keys(q, k, v, Orders(), layout, config)
    backwards = Groups(made.places.unflatten(2, (3, 4, 8)).flip(3, 4).flatten(2), made.weights)
    outs = []
    for groups in (made, backwards):
        pyramid = reference.build_pyramid(k, v, Orders(), layout, config, groups)
        mass = reference.importance(q, pyramid, Orders(), layout, config, 0.3)
        plan = reference.assign_levels(mass, pyramid, layout, config)
        outs.append(reference.attend(q, pyramid, plan, Orders(), layout, config, 0.3))
    # the same groups of 8 in another order
    torch.testing.assert_close(*outs)


@pytest.mark.usefixtures("every_head_clustered")
@pytest.mark.parametrize("order", ["Gilbert", "SemanticAware"])
def test_a_gradient_flows_through_groups(order):
    q, k, v = (x.requires_grad_() for x in normal(*[(1, 2, 96, 4)] * 3))
    config = similar(mask_ratios=ALL_8, rearrange_method=order, refresh=4)
    state = OrderState()
    with torch.inference_mode():
        psa_attention(q, k, v, config=config, grid=(2, 6, 8), state=state, step=0)
        psa_attention(q, k, v, config=config, grid=(2, 6, 8), state=state, step=1)
    psa_attention(q, k, v, config=config, grid=(2, 6, 8), state=state, step=2).sum().backward()
    assert all(x.grad.isfinite().all() and x.grad.any() for x in (q, k, v))
