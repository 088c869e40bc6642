"""Attention overrides before and after PSA: other packs', ComfyUI's backend and sparse nodes."""

from collections import Counter

import pytest
import torch

from ..sampling import OVERRIDE, ROUNDING, sparse_config
from .beside import check_beside, covers, in_both_orders, together

PLAN = {"steps": 4}
CONFIG = {"warmup_steps": 2}
# 4 steps of two blocks: self- and cross-attention each
SPARSE, DENSE = 4, 12


def with_override(model, override):
    """As every pack does it: a clone whose options hold the override."""
    model = model.clone()
    model.model_options["transformer_options"][OVERRIDE] = override
    return model


def passing_on(seen, gain=1.0):
    def override(func, *args, **kwargs):
        seen.append("cross" if args[0].shape != args[1].shape else "self")
        return func(*args, **kwargs) * gain

    return override


def replacing(seen):
    """Like the SageAttention nodes: another kernel, `func` ignored."""
    from comfy.ldm.modules.attention import attention_sub_quad

    def override(func, *args, **kwargs):
        seen.append("cross" if args[0].shape != args[1].shape else "self")
        return attention_sub_quad.__wrapped__(*args, **kwargs)

    return override


@covers("other packs' attention overrides")
@in_both_orders
@pytest.mark.parametrize("make", [passing_on, replacing])
def test_another_override_serves_what_psa_leaves_dense(bench, make, order):
    seen = []
    config = sparse_config(**CONFIG)
    model = together(bench, lambda model: with_override(model, make(seen)), order, config)
    out = bench.sample(model, **PLAN)
    assert bench.report["calls"]["sparse"] == SPARSE
    assert Counter(seen) == {"self": 4, "cross": 8}
    # the other kernel rounds differently; passing on changes nothing
    alone = bench.sample(bench.patch(config), **PLAN)
    if make is passing_on:
        assert torch.equal(out, alone)
    else:
        assert (out - alone).abs().max() < ROUNDING * alone.abs().max()


@covers("other packs' attention overrides")
@in_both_orders
def test_what_another_override_returns_is_used(bench, order):
    """An override with an effect has it on dense calls."""

    def halving(model):
        return with_override(model, passing_on([], gain=0.5))

    config = sparse_config(**CONFIG)
    changed = bench.sample(together(bench, halving, order, config), **PLAN)
    assert (changed - bench.sample(bench.patch(config), **PLAN)).abs().max() > 0.01
    # all dense: exactly what the override does without PSA
    dense = together(bench, halving, order, sparse_config(type="dense"))
    alone = halving(bench.model)
    assert torch.equal(bench.sample(dense, **PLAN), bench.sample(alone, **PLAN))


@covers("other packs' attention overrides")
def test_overrides_on_both_sides_the_later_one_wins_as_without_psa(bench):
    first, second = [], []
    model = bench.patch(sparse_config(**CONFIG), model=with_override(bench.model, replacing(first)))
    bench.sample(with_override(model, replacing(second)), **PLAN)
    assert not first and len(second) == DENSE
    assert bench.report["calls"]["sparse"] == SPARSE


@covers("other packs' attention overrides")
def test_an_override_that_wraps_the_one_it_found(bench):
    """A well-behaved pack keeps the override that was there; both stay under PSA."""
    inner, outer = [], []
    model = with_override(bench.model, passing_on(inner))
    found = model.model_options["transformer_options"][OVERRIDE]

    def wrapping(func, *args, **kwargs):
        outer.append(1)
        return found(func, *args, **kwargs)

    bench.sample(with_override(bench.patch(sparse_config(**CONFIG), model=model), wrapping), **PLAN)
    assert len(inner) == len(outer) == DENSE


def backend_node(model):
    """ComfyUI's ModelAttentionBackend; before 0.33, what it does: it ignores `func`."""
    from comfy.ldm.modules.attention import attention_pytorch
    from comfy_extras import nodes_model_advanced

    if hasattr(nodes_model_advanced, "ModelAttentionBackend"):
        return nodes_model_advanced.ModelAttentionBackend().patch(model, "pytorch attention")[0]
    return with_override(model, lambda _, *args, **kwargs: attention_pytorch(*args, **kwargs))


@covers("Model Attention Backend")
@in_both_orders
def test_attention_backend_node(bench, order):
    # the backend is the one that runs here anyway
    check_beside(bench, backend_node, order, sparse=8, changes=False, ignores_func=True, **PLAN)


class SparseNode:
    """As ComfyUI's own sparse node works from 0.38 on.

    Before every model call it puts itself on top of whatever override is there, which it keeps as
    `previous`; it serves self-attention below a noise level, declines the rest to `previous`, and
    forgets what it kept when a run is over.
    """

    def __init__(self, sigma):
        self.sigma, self.previous = sigma, None
        self.served, self.declined, self.resets = [], [], 0

    def on(self, model):
        import comfy.patcher_extension

        model = model.clone()
        kinds = comfy.patcher_extension.CallbacksMP
        model.add_callback_with_key(kinds.ON_PREPARE_STATE, "sparse_node", self.prepare)
        model.add_callback_with_key(kinds.ON_CLEANUP, "sparse_node", self.reset)
        return model

    def prepare(self, patcher, timestep, *rest):
        # before 0.33 there is no third argument, and the patcher's own options are not the run's
        options = (rest[0] if rest else patcher.model_options)["transformer_options"]
        found = options.get(OVERRIDE)
        if found != self.override:
            self.previous = found
            options[OVERRIDE] = self.override

    def override(self, func, q, k, v, *args, **kwargs):
        sigma = float(kwargs["transformer_options"]["sigmas"].max())
        if q.shape == k.shape and sigma <= self.sigma:
            self.served.append(sigma)
            # each query sees the near half of the keys: an effect that cannot be missed
            near = q.shape[1] // 2
            first, last = (
                func(q[:, :near], k[:, :near], v[:, :near], *args, **kwargs),
                func(q[:, near:], k[:, near:], v[:, near:], *args, **kwargs),
            )
            return torch.cat((first, last), dim=1)
        self.declined.append(sigma)
        if self.previous is not None:
            return self.previous(func, q, k, v, *args, **kwargs)
        return func(q, k, v, *args, **kwargs)

    def reset(self, patcher):
        self.previous, self.resets = None, self.resets + 1


@covers("ComfyUI's sparse attention node")
@in_both_orders
@pytest.mark.parametrize("warmup_steps", [0, 2, 4])
def test_comfyuis_own_sparse_node(bench, order, warmup_steps):
    """PSA serves the steps it plans to, the other node its own among those PSA leaves dense."""
    alone = SparseNode(sigma=1.0)
    expected = bench.sample(alone.on(bench.model), **PLAN)
    if not alone.served:
        pytest.skip("before 0.33 such a node has no way to a run's options")
    assert len(alone.served) == 8
    node = SparseNode(sigma=1.0)
    config = sparse_config(warmup_steps=warmup_steps)
    out = sampled(bench, together(bench, node.on, order, config))
    assert bench.report["calls"]["sparse"] == 2 * (4 - warmup_steps)
    assert len(node.served) == 2 * warmup_steps
    assert len(node.declined) == 8
    assert node.resets == 1 and node.previous is None
    assert torch.equal(out, expected) == (warmup_steps == 4)
    # and what one run left does not show in the next
    assert torch.equal(sampled(bench, together(bench, node.on, order, config)), out)


def sampled(bench, model):
    """A spy cannot tell the other node's calls of `func` from dense ones: only PSA is counted."""
    out = bench.sample(model, **PLAN)
    assert torch.isfinite(out).all() and bench.report["failure"] is None
    return out
