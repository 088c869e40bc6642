"""transformers on a GPU: a causal prefill in bfloat16, served by the Triton kernels."""

import copy

import pytest
import torch

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install .[transformers]"
)

from psa_engines.transformers import apply_psa, remove_psa  # noqa: E402

from .rounding import check_rounding, distance  # noqa: E402
from .small_transformers import (  # noqa: E402
    LAYERS,
    ONE_RUN,
    answered,
    everything,
    little,
    made,
    prompt,
    same,
)

pytestmark = pytest.mark.gpu

DEVICE, KERNELS = "cuda", ("triton",)


def model_and_inputs(name="qwen2.5-vl"):
    model = made(name).to(DEVICE, torch.bfloat16)
    return model, {key: value.to(DEVICE) for key, value in prompt(name).items()}


def check_served(applied, **dense):
    report, record = applied.report(), applied.record()
    assert report["failure"] is None and report["missing"] is None
    assert report["calls"] == {"sparse": LAYERS, "dense": dense}
    assert record.implementations == KERNELS and report["implementation_reason"] is None
    assert report["times"]["timer"] == "GPU events" and report["times"]["psa_ms"] > 0


@pytest.mark.parametrize("name", ONE_RUN)
def test_every_block_at_level_1_equals_dense_up_to_rounding(name):
    model, inputs = model_and_inputs(name)
    exact = copy.deepcopy(model).float()(**inputs).logits
    dense = model(**inputs).logits
    applied = apply_psa(model, everything())
    out = model(**inputs).logits
    check_served(applied)
    check_rounding(out, dense, exact)


@pytest.mark.parametrize("name", ONE_RUN)
def test_a_sparse_prefill_is_followed_by_dense_decode_steps(name):
    model, inputs = model_and_inputs(name)
    dense = answered(model, inputs)
    applied = apply_psa(model, little())
    tokens, out = answered(model, inputs)
    check_served(applied, **{"decode step": 3 * LAYERS})
    assert applied.report()["density"] < 0.9 and distance(out, dense[1]) > 1e-3
    assert same(answered(model, inputs), (tokens, out))
    remove_psa(model)
    assert same(answered(model, inputs), dense)


def test_switched_off_it_gives_the_same_bits():
    model, inputs = model_and_inputs()
    dense = answered(model, inputs)
    applied = apply_psa(model, everything(type="dense"))
    assert same(answered(model, inputs), dense)
    assert applied.report()["calls"]["sparse"] == 0


def test_a_prefill_that_gave_nan_is_made_again_dense(spoil):
    model, inputs = model_and_inputs()
    dense = answered(model, inputs)
    applied = apply_psa(model, little())
    spoil("NaN")
    assert same(answered(model, inputs), dense)
    assert applied.report()["repeated"] == 1


def test_an_offloaded_model_is_served():
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    model, inputs = model_and_inputs()
    apply_psa(model, little())
    whole = answered(model, inputs)[1]
    remove_psa(model)
    accelerate.cpu_offload(model, torch.device(DEVICE, 0))
    applied = apply_psa(model, little())
    assert torch.equal(answered(model, inputs)[1], whole)
    check_served(applied, **{"decode step": 3 * LAYERS})
