"""Attention overrides of other packs before and after PSA, and compiled models."""

from collections import Counter

import pytest
import torch

from ..sampling import OVERRIDE, Spy, sparse_config

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
    """In the manner of the SageAttention nodes: another kernel, `func` ignored."""
    from comfy.ldm.modules.attention import attention_sub_quad

    def override(func, *args, **kwargs):
        seen.append("cross" if args[0].shape != args[1].shape else "self")
        return attention_sub_quad.__wrapped__(*args, **kwargs)

    return override


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("make", [passing_on, replacing])
def test_another_override_serves_what_psa_leaves_dense(bench, make, order):
    seen = []
    config = sparse_config(**CONFIG)
    if order == "before":
        model = bench.patch(config, model=with_override(bench.model, make(seen)))
    else:
        model = with_override(bench.patch(config), make(seen))
    out = bench.sample(model, **PLAN)
    assert bench.report["calls"]["sparse"] == SPARSE
    assert Counter(seen) == {"self": 4, "cross": 8}
    # the other kernel rounds differently; passing on changes nothing
    alone = bench.sample(bench.patch(config), **PLAN)
    if make is passing_on:
        assert torch.equal(out, alone)
    else:
        assert torch.allclose(out, alone, atol=1e-4)


@pytest.mark.parametrize("order", ["before", "after"])
def test_what_another_override_returns_is_used(bench, order):
    """An override with an effect has it on dense calls, in both node orders."""
    config = sparse_config(**CONFIG)
    seen = []
    override = passing_on(seen, gain=0.5)
    if order == "before":
        model = bench.patch(config, model=with_override(bench.model, override))
    else:
        model = with_override(bench.patch(config), override)
    changed = bench.sample(model, **PLAN)
    assert (changed - bench.sample(bench.patch(config), **PLAN)).abs().max() > 0.01
    # all dense: exactly what the override does without PSA
    dense = bench.patch(sparse_config(type="dense"), model=with_override(bench.model, override))
    assert torch.equal(
        bench.sample(dense, **PLAN), bench.sample(with_override(bench.model, override), **PLAN)
    )


def test_overrides_on_both_sides_the_later_one_wins_as_without_psa(bench):
    first, second = [], []
    model = bench.patch(sparse_config(**CONFIG), model=with_override(bench.model, replacing(first)))
    bench.sample(with_override(model, replacing(second)), **PLAN)
    assert not first and len(second) == DENSE
    assert bench.report["calls"]["sparse"] == SPARSE


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


@pytest.mark.parametrize("order", ["compile, then PSA", "PSA, then compile"])
def test_compiled_model_is_exact_in_both_orders(bench, order):
    """backend="eager" traces as Inductor would, without its minutes of compiling."""
    import torch._dynamo
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()

    traced = []

    def previous(func, *args, **kwargs):
        traced.append(torch.compiler.is_compiling())
        return func(*args, **kwargs)

    def compiled(model):
        model = model.clone()
        # what ComfyUI's TorchCompileModel node sets: no guards on transformer_options
        options = {
            "guard_filter_fn": lambda guards: [
                "transformer_options" not in guard.name for guard in guards
            ]
        }
        set_torch_compile_wrapper(model=model, backend="eager", options=options)
        return model

    def build(config):
        model = with_override(bench.model, previous)
        if order == "compile, then PSA":
            return bench.patch(config, model=compiled(model))
        return compiled(bench.patch(config, model=model))

    for config in (sparse_config(**CONFIG), sparse_config(block_n=64, tail=64, warmup_steps=1)):
        eager = bench.sample(bench.patch(config), **PLAN)
        expected = bench.report
        spy = Spy()
        out = bench.sample(build(config), **PLAN)
        assert torch.equal(out, eager)
        for key in ("calls", "density", "per_level", "plan"):
            assert bench.report[key] == expected[key]
        # a second run of the same compiled model, with a spy that must see the same calls
        bench.sample(spy.on(build(config)), **PLAN)
        assert len(spy.sparse) == expected["calls"]["sparse"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    # an override that is traced freezes what it decides into the graph
    assert traced and not any(traced)
