"""Faults, interrupts and what stays behind: a render goes on, and a run leaves nothing."""

import logging
import re
import weakref
from collections import Counter

import pytest
import torch

from .leftovers import left_behind
from .sampling import OVERRIDE, SHAPE, Spy, interrupt_at, sparse_config, transformer_options

BLOCKS = 2


def no_launch():
    return RuntimeError("no kernel for this GPU")


def test_a_fault_in_mid_run_leaves_the_rest_dense(bench, failing, caplog):
    patched = bench.patch(sparse_config(warmup_steps=1))
    undisturbed = bench.sample(patched)
    failing(3, no_launch)
    caplog.clear()
    spy = Spy()
    out = bench.sample(spy.on(patched))

    assert torch.isfinite(out).all() and not torch.equal(out, undisturbed)
    report = bench.report
    assert report["calls"]["sparse"] == len(spy.sparse) == 2
    assert report["calls"]["dense"] == {
        "cross-attention": 8, "warm-up": 2, "PSA stepped aside": 4,
    }  # fmt: skip
    assert report["steps"][1]["sparse"] == 2
    message = "RuntimeError: no kernel for this GPU"
    assert message in report["failure"]
    loud = [r for r in caplog.records if r.levelno >= logging.WARNING]
    # a traceback as text: a record with exc_info would keep the tensors of the failed call
    assert len(loud) == 2 and not any(r.exc_info for r in loud)
    assert "the render goes on" in loud[0].getMessage() and message in loud[0].getMessage()
    assert "Traceback" in loud[0].getMessage()
    assert "STEPPED ASIDE" in loud[1].getMessage()

    failing(10_000, no_launch)
    assert torch.equal(bench.sample(patched), undisturbed)
    assert bench.report["failure"] is None


@pytest.mark.parametrize("fault", [float("nan"), float("-inf")], ids=["nan", "inf"])
def test_a_spoiled_output_is_noticed_and_its_model_call_repeated_dense(
    bench, failing, caplog, fault
):
    patched = bench.patch(sparse_config(warmup_steps=1))
    # what the run must equal: sparse in step 2, dense from step 3 on
    failing(3, no_launch)
    expected = bench.sample(patched)
    # call 4 is block 1 of step 3: block 0 of that step ran sparse, and must not stay in the result
    failing(4, fault)
    caplog.clear()
    spy = Spy()
    out = bench.sample(spy.on(patched))

    assert torch.equal(out, expected)
    report = bench.report
    assert report["calls"]["sparse"] == len(spy.sparse) == 4
    assert report["calls"]["dense"] == {
        "cross-attention": 10, "warm-up": 2, "PSA stepped aside": 4,
    }  # fmt: skip
    assert "NaN or Inf in the output of attention call 1" in report["failure"]
    assert report["repeated"] == 1
    assert sum("the render goes on" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.usefixtures("no_forward_stays")
def test_a_patch_that_counts_model_calls_is_told_of_the_repeated_one(bench, failing, caplog):
    """As caches of other packs count their steps, in a forward of theirs."""
    import types

    patched = bench.patch(sparse_config(warmup_steps=1))
    model = patched.get_model_object("diffusion_model")
    counted = []

    def counting(self, *args, **kwargs):
        counted.append(1)
        return type(self).forward_orig(self, *args, **kwargs)

    patched.add_object_patch("diffusion_model.forward_orig", types.MethodType(counting, model))
    bench.sample(patched, cfg=1.0)
    assert len(counted) == 4 and not [r for r in caplog.records if "called again" in r.getMessage()]
    counted.clear()
    failing(4, float("nan"))
    bench.sample(patched, cfg=1.0)
    assert len(counted) == 5
    (line,) = [r.getMessage() for r in caplog.records if "called again" in r.getMessage()]
    assert "called again" in line and "counts model calls" in line and "one ahead" in line
    assert bench.report["repeated"] == 1 and bench.report["bypassed"] is None


def unnumbered(model):
    """The model as if it did not publish the numbers of its blocks."""
    import comfy.patcher_extension

    def wrapper(executor, *args, **kwargs):
        options = transformer_options(args, kwargs)
        inner = options[OVERRIDE]

        def override(func, *args, transformer_options=None, **kwargs):
            rest = {k: x for k, x in (transformer_options or {}).items() if k != "block_index"}
            return inner(func, *args, transformer_options=rest, **kwargs)

        options[OVERRIDE] = override
        return executor(*args, **kwargs)

    model = model.clone()
    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    model.add_wrapper_with_key(kind, "test_unnumbered", wrapper)
    return model


def test_the_blocks_of_a_repeated_call_are_counted_from_0_again(bench, failing):
    """On a model that does not say which block a call is of."""
    from psa_pack.nodes.recording.run_log import log_of

    patched = bench.patch(sparse_config(warmup_steps=1))
    failing(4, float("nan"))
    bench.sample(unnumbered(patched), cfg=1.0)
    assert bench.report["repeated"] == 1
    (logged,) = log_of(patched).latest()
    dense = {}
    for cell in logged.record.cells:
        if cell.block is not None:
            dense.setdefault(cell.block, Counter()).update(cell.dense)
    aside = {"warm-up": 1, "PSA stepped aside": 2}
    assert dense == dict.fromkeys(range(BLOCKS), aside)


def test_a_fault_at_the_first_call_gives_the_unpatched_result(bench, failing):
    failing(1, no_launch)
    assert torch.equal(bench.sample(bench.patch()), bench.sample())
    assert bench.report["calls"]["sparse"] == 0


def test_a_model_that_makes_nan_itself_is_served_like_without_psa(bench):
    latent = torch.full(SHAPE, float("nan"))
    plain = bench.sample(latent=latent)
    out = bench.sample(bench.patch(), latent=latent)
    assert torch.isnan(plain).all() and torch.isnan(out).all()
    assert "NaN" in bench.report["failure"]


def test_a_report_that_cannot_be_made_or_sent_costs_nothing(bench, caplog, monkeypatch):
    from psa_pack.nodes.patching.run import Run

    def broken(*_):
        raise OSError("the page is gone")

    expected = bench.sample(bench.patch())
    assert torch.equal(bench.sample(bench.patch(on_report=broken)), expected)
    monkeypatch.setattr(Run, "finish", broken)
    assert torch.equal(bench.sample(bench.patch()), expected)
    lines = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len([line for line in lines if "the page is gone" in line]) == 2


# runs that carry something from step to step
@pytest.mark.parametrize(
    "carrying", [{"rearrange_method": "SemanticAware"}, {"grouping": "similar"}], ids=str
)
def test_nothing_of_a_run_stays_behind_nor_of_one_that_is_interrupted(
    bench, failing, caplog, carrying
):
    import comfy.model_management

    assert not left_behind()
    patched = bench.patch(sparse_config(warmup_steps=1, **carrying))
    during = []
    undisturbed = bench.sample(patched, callback=lambda *_: during.append(len(left_behind())))
    # the run, and what two blocks carry once they are sparse: the check above can fail
    assert during[0] >= 1 and during[-1] >= 1 + BLOCKS
    assert not left_behind()
    for step in (0, 2):
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            bench.sample(patched, callback=interrupt_at(step))
        # step 0 was warm-up; a step's callback comes after its model calls
        assert bench.report["calls"]["sparse"] == step * BLOCKS
        assert bench.report["failure"] is None
        assert not left_behind()
    assert torch.equal(bench.sample(patched), undisturbed)
    # also while pytest keeps the log records
    failing(2, no_launch)
    bench.sample(patched)
    assert bench.report["failure"] and caplog.records
    assert not left_behind()


def test_a_token_order_goes_with_the_run(bench, monkeypatch):
    """Of its device's memory; the curve itself is not made anew in the next run."""
    from psa_kernels import reference
    from psa_kernels.reference import orders

    real, made, curves = reference.reorder, [], []

    def reorder(*args, **kwargs):
        found = real(*args, **kwargs)
        made.append(weakref.ref(found.q))
        return found

    def gilbert_order(grid):
        curves.append(grid)
        return list(range(192))

    monkeypatch.setattr(reference, "reorder", reorder)
    monkeypatch.setattr(orders, "gilbert_order", gilbert_order)
    orders.static_order.cache_clear()
    try:
        during = []
        for _ in range(2):
            bench.sample(
                bench.patch(), steps=3, callback=lambda *_: during.append(made[-1]() is not None)
            )
            assert bench.report["failure"] is None
            assert len({id(order) for order in made}) == 1  # one for all blocks and steps
            assert made[-1]() is None
            made.clear()
    finally:
        orders.static_order.cache_clear()  # it holds no true curve
    assert during == [True] * 6 and curves == [(3, 8, 8)]


def test_a_sampling_without_a_signature_is_not_lost(bench, caplog, monkeypatch):
    """What a pack puts in its place may be any callable; the callback then is left as it is."""
    import comfy.samplers

    own = comfy.samplers.CFGGuider.outer_sample

    def replaced(self, *args, **kwargs):
        return own(self, *args, **kwargs)

    expected = bench.sample(bench.patch())
    steps = [step["sparse"] for step in bench.report["steps"]]
    replaced.__signature__ = "none"
    monkeypatch.setattr(comfy.samplers.CFGGuider, "outer_sample", replaced)
    caplog.set_level("INFO", "PSA")
    assert torch.equal(bench.sample(bench.patch()), expected)
    assert [step["sparse"] for step in bench.report["steps"]] == steps
    # which of them it is differs between Python 3.11 and 3.12
    said = re.search(r"steps are found by their sigmas alone \((Type|Value)Error", caplog.text)
    assert said, caplog.text
