"""Layers that prefer an attention function of their own, as newer versions of ComfyUI have them."""

import functools

import pytest
import torch

from ..sampling import OVERRIDE, sparse_config
from .beside import with_override_over
from .compiling import breaks, compiled

pytestmark = pytest.mark.usefixtures("fresh_compiler")


class Choice:
    """A layer's choice, as ComfyUI's `ComfyAttention`: a call reads its `function`."""

    def __init__(self, function):
        self.function = function


def asks_as_newer_comfyui(func):
    """The order in which ComfyUI 0.38 asks: an override with `func`, else the layer's choice."""

    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        preferred_attention = kwargs.pop("preferred_attention", None)
        outermost = "_inside_attn_wrapper" not in kwargs
        try:
            if outermost:
                kwargs["_inside_attn_wrapper"] = True
                override = (kwargs.get("transformer_options") or {}).get(OVERRIDE)
                if override is not None:
                    return override(func, *args, **kwargs)
                if preferred_attention is not None and preferred_attention.function is not None:
                    return preferred_attention.function(*args, **kwargs)
            return func(*args, **kwargs)
        finally:
            if outermost:
                del kwargs["_inside_attn_wrapper"]

    return wrapper


def usual(q, k, v, heads, **kwargs):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return out.transpose(1, 2).flatten(2)


@asks_as_newer_comfyui
def coarse(q, k, v, heads, **kwargs):
    """Like int8 attention: near the usual one, and not the same."""
    return usual(q.half().to(v.dtype), k.half().to(v.dtype), v, heads) * 0.98


CHOICES = {"prefers": Choice(coarse), "cannot": Choice(None), "no choice": None}
only_prefers = pytest.mark.parametrize("choosing", ["prefers"], indirect=True)


@pytest.fixture(params=CHOICES)
def choosing(request, bench, monkeypatch):
    """The layers of the model call attention with this choice; what they must then run."""
    import comfy.ldm.wan.model

    asked = asks_as_newer_comfyui(usual)
    choice = CHOICES[request.param]

    def attention(*args, **kwargs):
        return asked(*args, preferred_attention=choice, **kwargs)

    monkeypatch.setattr(comfy.ldm.wan.model, "optimized_attention", attention)
    return choice is not None and choice.function is not None


def dense(bench, model=None):
    return bench.patch(sparse_config(type="dense"), model=model)


def warming_up(bench):
    return bench.patch(sparse_config(warmup_steps=4))


def without_blocks(bench):
    return bench.patch(sparse_config(), dense_blocks=frozenset({0, 1}))


def too_short(bench):
    return bench.patch(sparse_config(), min_tokens=10_000)


def test_a_dense_call_runs_what_would_have_run_without_psa(bench, choosing, monkeypatch):
    import comfy.ldm.wan.model

    plain = bench.sample()
    for patch in (dense, warming_up, without_blocks, too_short):
        assert torch.equal(bench.sample(patch(bench)), plain), patch.__name__
        assert bench.report["failure"] is None and not bench.report["calls"]["sparse"]
    # with the usual attention the picture is the same only without a choice
    monkeypatch.setattr(comfy.ldm.wan.model, "optimized_attention", asks_as_newer_comfyui(usual))
    assert torch.equal(bench.sample(), plain) is not choosing


@pytest.mark.parametrize("choosing", ["prefers", "no choice"], indirect=True)
def test_in_a_compiled_model(bench, choosing):
    plain = bench.sample(compiled(bench.model))
    assert torch.equal(bench.sample(compiled(warming_up(bench))), plain)
    assert breaks() == 0


@only_prefers
@pytest.mark.parametrize("compiling", [lambda model: model, compiled], ids=["", "compiled"])
def test_another_override_is_asked_for_the_usual_one(bench, choosing, compiling):
    """ComfyUI then asks it with that function, whatever the layer prefers."""
    model = bench.model.clone()
    asked = []

    def other(func, *args, **kwargs):
        asked.append(func)
        return func(*args, **kwargs)

    model.model_options["transformer_options"][OVERRIDE] = other
    plain = bench.sample(model)
    assert torch.equal(bench.sample(compiling(dense(bench, model))), plain)
    assert set(asked) == {usual}


@only_prefers
def test_an_override_over_psa_has_the_usual_one_too(bench, choosing):
    model = bench.model.clone()
    model.model_options["transformer_options"][OVERRIDE] = lambda func, *q, **more: func(*q, **more)
    plain, asked = bench.sample(model), []
    assert torch.equal(bench.sample(with_override_over(dense(bench), asked)), plain)
    assert set(asked) == {usual}


def test_a_sparse_call_is_psas(bench, choosing):
    config = sparse_config(warmup_steps=1)
    bench.sample(bench.patch(config))
    assert bench.report["calls"]["sparse"] == 6
