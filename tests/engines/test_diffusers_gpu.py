"""diffusers on a GPU: bfloat16, served by the Triton kernels."""

import copy

import pytest
import torch

from psa_engines.diffusers import apply_psa, remove_psa

from .rounding import check_rounding, distance
from .small_diffusers import (
    BLOCKS,
    MAKERS,
    STEPS,
    clip,
    denoised,
    everything,
    little,
    made,
    scheduler,
    wan_pipeline,
)

pytestmark = pytest.mark.gpu

DEVICE, KERNELS = "cuda", ("triton",)
OF_A_RUN = 2 * 2 * STEPS  # calls: blocks, conditions, steps


def check_served(applied, sparse):
    """The kernels served so many calls, and all of it was written down."""
    report, record = applied.report(), applied.record()
    assert report["failure"] is None and report["missing"] is None
    assert report["calls"]["sparse"] == sparse
    assert record.implementations == KERNELS and report["implementation_reason"] is None
    assert report["times"]["timer"] == "GPU events" and report["times"]["psa_ms"] > 0


def pipeline(dtype=torch.bfloat16):
    """Heads of 128 channels, as Wan has them; float32 has the weights of bfloat16."""
    pipe = wan_pipeline(transformer=made("wan", attention_head_dim=128))
    return pipe.to(DEVICE, torch.bfloat16).to(dtype)


def run(pipe, **more):
    return clip(pipe, device=DEVICE, dtype=pipe.transformer.dtype, **more)


@pytest.mark.parametrize("name", MAKERS)
def test_every_block_at_level_1_equals_dense_up_to_rounding(name):
    model, steps = made(name).to(DEVICE, torch.bfloat16), scheduler()
    exact = denoised(name, copy.deepcopy(model).float(), steps, branches=2)
    dense = denoised(name, model, steps, branches=2)
    applied = apply_psa(model, everything(), scheduler=steps)
    out = denoised(name, model, steps, branches=2)
    check_served(applied, 2 * STEPS * BLOCKS[name])
    check_rounding(out, dense, exact)


def test_a_pipeline_in_bfloat16():
    exact = run(pipeline(torch.float32))
    pipe = pipeline()
    dense = run(pipe)
    applied = apply_psa(pipe, everything())
    out = run(pipe)
    check_served(applied, OF_A_RUN)
    check_rounding(out, dense, exact)
    applied = apply_psa(pipe, everything(type="dense"))
    assert torch.equal(run(pipe), dense)
    assert applied.report()["calls"] == {"sparse": 0, "dense": {"dense preset": OF_A_RUN}}
    remove_psa(pipe)
    assert torch.equal(run(pipe), dense)


def test_a_pipeline_in_float32():
    pipe = pipeline(torch.float32)
    dense = run(pipe)
    applied = apply_psa(pipe, everything())
    torch.testing.assert_close(run(pipe), dense, rtol=1e-3, atol=1e-3)
    check_served(applied, OF_A_RUN)


@pytest.mark.parametrize("chosen", ["little", "Wan2.1_14b/balanced", "Wan2.1_14b/fast"])
def test_a_sparse_run_is_another_and_comes_again_bit_for_bit(chosen):
    pipe = pipeline()
    dense = run(pipe, count=8)
    applied = apply_psa(pipe, little(warmup_steps=1) if chosen == "little" else chosen)
    out = run(pipe, count=8)
    first = applied.report()
    check_served(applied, first["calls"]["sparse"])
    assert first["density"] < 0.9 and out.isfinite().all()
    assert distance(out, dense) > 1e-3
    assert torch.equal(run(pipe, count=8), out)
    assert applied.report()["density"] == first["density"]


def test_a_compiled_transformer_asks_psa_in_every_step():
    pipe, exact = pipeline(), run(pipeline(torch.float32))
    dense = run(pipe)
    applied = apply_psa(pipe, everything())
    torch._dynamo.reset()
    pipe.transformer = torch.compile(pipe.transformer)
    try:
        out = run(pipe)
        check_served(applied, OF_A_RUN)
        applied = apply_psa(pipe, little(warmup_steps=1))
        run(pipe)
        check_served(applied, OF_A_RUN * 3 // 4)
    finally:
        torch._dynamo.reset()
    check_rounding(out, dense, exact, times=2)


@pytest.mark.parametrize("fault", ["error", "NaN"])
def test_a_fault_inside_psa_loses_no_render(fault, spoil):
    pipe = pipeline()
    dense = run(pipe)
    applied = apply_psa(pipe, everything())
    spoil(fault)
    assert torch.equal(run(pipe), dense)
    report = applied.report()
    assert ("no such kernel" if fault == "error" else "NaN or Inf") in report["failure"]
    assert report["repeated"] == (fault == "NaN")
