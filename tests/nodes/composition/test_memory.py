"""Memory that is freed between and during runs, and models that are thrown away."""

import gc
import weakref

import torch

from ..leftovers import left_behind, tensors_alive
from ..sampling import sparse_config
from .beside import covers

pytestmark = covers("models unloaded and freed")

STEPS = 3
CONFIG = {"rearrange_method": "Hybrid", "warmup_steps": 1}


def test_models_unloaded_between_runs(bench):
    """What the buttons "Unload Models" and "Free model and node cache" do."""
    import comfy.model_management

    patched = bench.patch(sparse_config(**CONFIG))
    expected = bench.sample(patched, steps=STEPS)
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache(True)
    assert torch.equal(bench.sample(patched, steps=STEPS), expected)
    comfy.model_management.free_memory(1e30, torch.device("cpu"))
    assert torch.equal(bench.sample(patched, steps=STEPS), expected)


def test_caches_emptied_and_other_models_loaded_within_a_run(bench, comfy_inproc):
    import comfy.model_management

    other = comfy_inproc.tiny_wan()
    patched = bench.patch(sparse_config(**CONFIG))
    expected = bench.sample(patched, steps=STEPS)

    def busy(step, *_):
        comfy.model_management.load_models_gpu([other])
        comfy.model_management.soft_empty_cache(True)

    assert torch.equal(bench.sample(patched, steps=STEPS, callback=busy), expected)


def test_a_model_that_was_sampled_with_psa_can_be_thrown_away(bench, comfy_inproc):
    import comfy.model_management

    model = comfy_inproc.tiny_wan()
    patched = bench.patch(sparse_config(**CONFIG), model=model)
    bench.sample(patched, steps=STEPS)
    weights = weakref.ref(model.model)
    del model
    comfy.model_management.unload_all_models()
    gc.collect()
    # the patched clone still has it
    assert weights() is not None
    del patched
    comfy.model_management.unload_all_models()
    gc.collect()
    assert weights() is None


def test_a_run_leaves_no_tensor(bench):
    """Not in the log of runs either, which the model carries for PSA Report."""
    patched = bench.patch(sparse_config(**CONFIG))
    bench.sample(patched, steps=STEPS)
    bench.reports.clear()
    before = tensors_alive()
    for _ in range(3):
        bench.sample(patched, steps=STEPS)
    bench.reports.clear()
    assert not left_behind() and tensors_alive() <= before
