"""Another node on the model beside PSA: the picture it gives, and who served which call."""

import pytest
import torch

from ..sampling import OVERRIDE, ROUNDING, Spy, agree, dense_level_config, sparse_config

ORDERS = ["other node, then PSA", "PSA, then other node"]
in_both_orders = pytest.mark.parametrize("order", ORDERS)


def covers(partner):
    """Marks a test as one that shows `partner` of the second table in docs/models.md."""
    return pytest.mark.covers("Wan 2.1, beside", partner)


def together(bench, other, order, config, **options):
    """The tiny Wan with `other` (model -> model) and PSA on it, in the order the nodes stand in."""
    if order == "other node, then PSA":
        return bench.patch(config, model=other(bench.model), **options)
    return other(bench.patch(config, **options))


def with_override_over(model, asked):
    """`model`, which has PSA, with an override that lies over PSA's and passes on to it; `asked`
    gets the function of each call."""
    import comfy.patcher_extension

    def over(executor, *args, **kwargs):
        options = next(x for x in args if isinstance(x, dict) and "sigmas" in x)
        inner = options[OVERRIDE]

        def override(func, *call_args, **call_kwargs):
            asked.append(func)
            return inner(func, *call_args, **call_kwargs)

        at = args.index(options)
        own = {**options, OVERRIDE: override}
        return executor(*args[:at], own, *args[at + 1 :], **kwargs)

    model = model.clone()
    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    model.add_wrapper_with_key(kind, "test_over", over)
    return model


def check_beside(bench, other, order, *, sparse, changes=True, ignores_func=False, **sampling):
    """The other node has its whole effect beside PSA, and PSA every call that it plans to have.

    changes   whether the other node changes the picture
    The rest: see `check_picture`.
    """
    alone = other(bench.model)
    if changes:
        assert far(bench.sample(alone, **sampling), bench.sample(**sampling))
    return check_picture(
        bench, alone, lambda config: together(bench, other, order, config), sparse=sparse,
        ignores_func=ignores_func, **sampling,
    )  # fmt: skip


def check_picture(
    bench, alone, patched, *, sparse, rounding=ROUNDING, ignores_func=False, **sampling
):
    """`patched` (config -> model with PSA) at full density gives the picture of `alone`.

    sparse    calls that PSA is to serve with no step dense
    rounding  of dense attention by another way, relative to the largest value
    sampling  goes to `Bench.sample`
    ignores_func  the other node computes dense attention itself, where the spy cannot see it
    """

    def run(config):
        return run_counted(bench, patched(config), ignores_func=ignores_func, **sampling)

    expected = bench.sample(alone, **sampling)
    exact = run(dense_level_config())
    assert bench.report["density"] == 1.0
    assert bench.report["calls"]["sparse"] == sparse
    assert not torch.equal(exact, expected)
    assert (exact - expected).abs().max() < rounding * expected.abs().max()

    out = run(sparse_config())
    assert bench.report["density"] < 1.0
    assert bench.report["calls"]["sparse"] == sparse
    # what is near above is near because PSA computed it, not because PSA is off
    assert far(out, expected, FAR if rounding == ROUNDING else rounding)

    assert torch.equal(run(sparse_config(type="dense")), expected)
    return out


# Ten times a CPU's rounding. A GPU's float16 rounds by up to 0.7%, and the smallest change that
# sparse attention makes in these pictures is 1.9% (VACE): the bound there lies between the two.
FAR = max(1e-3, ROUNDING / 2)


def far(out, expected, least=FAR):
    return (out - expected).abs().max() > least * expected.abs().max()


def run_counted(bench, model, *, ignores_func=False, **sampling):
    """The latent of one run that a spy watched: it and PSA's report count the same."""
    spy = Spy()
    out = bench.sample(spy.on(model), **sampling)
    assert torch.isfinite(out).all()
    assert bench.report["failure"] is None
    if ignores_func:
        calls = bench.report["calls"]
        assert calls["sparse"] + sum(calls["dense"].values()) == len(spy.calls)
    else:
        agree(bench.report, spy)
    return out
