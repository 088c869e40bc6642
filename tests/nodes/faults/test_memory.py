"""Out of memory inside PSA: what it held is free before the dense attention takes its place."""

import weakref

import pytest
import torch

from psa_pack.tools.comfy_server import gpu_with_kernels

from ..sampling import OVERRIDE, sparse_config

STEPS = 3
# more than any machine has: the allocator refuses
TOO_MUCH = 1 << 50


@pytest.fixture
def starving(monkeypatch):
    """The last stage asks for more memory than there is; weak references to what stages made."""
    from psa_kernels import reference

    made = []
    for stage in ("build_pyramid", "importance"):
        real = getattr(reference, stage)

        def watched(*args, real=real):
            result = real(*args)
            tensors = [result] if torch.is_tensor(result) else vars(result).values()
            made.extend(weakref.ref(x) for x in tensors if torch.is_tensor(x))
            return result

        monkeypatch.setattr(reference, stage, watched)

    def attend(q, *_, **__):
        scores = torch.ones(1000, device=q.device)
        made.append(weakref.ref(scores))
        return torch.empty(TOO_MUCH, device=q.device)

    monkeypatch.setattr(reference, "attend", attend)
    return made


@pytest.mark.skipif(gpu_with_kernels(), reason="starves the reference, which serves a CPU")
def test_the_dense_attention_finds_psas_memory_free(bench, starving, monkeypatch, caplog):
    """And what the allocator had cached is given back."""
    import comfy.model_management

    alive_at_dense, emptied = [], []
    empty = comfy.model_management.soft_empty_cache
    monkeypatch.setattr(
        comfy.model_management, "soft_empty_cache", lambda *a: (emptied.append(1), empty(*a))
    )

    def dense(func, *args, **kwargs):
        if starving and args[0].shape == args[1].shape:
            alive_at_dense.append(sum(x() is not None for x in starving))
        return func(*args, **kwargs)

    model = bench.model.clone()
    model.model_options["transformer_options"][OVERRIDE] = dense
    plain = bench.sample(model, steps=STEPS)
    emptied.clear()
    out = bench.sample(
        bench.patch(sparse_config(rearrange_method="SemanticAware"), model=model), steps=STEPS
    )
    assert torch.equal(out, plain)
    assert len(starving) >= 3 and emptied
    # no garbage collection lies between the failed call and the dense one; the log keeps nothing
    assert alive_at_dense and not any(alive_at_dense)
    assert caplog.records and "memory" in bench.report["failure"]
    assert bench.report["calls"]["sparse"] == 0


def test_outputs_that_cannot_be_read_are_not_trusted(bench, monkeypatch):
    """A GPU may tell of an error only when its numbers are asked for."""
    from psa_engines.core import deciding

    class Torch:
        def __getattr__(self, name):
            return getattr(torch, name)

        def stack(self, *_):
            raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(deciding, "torch", Torch())
    assert torch.equal(bench.sample(bench.patch(), steps=STEPS), bench.sample(steps=STEPS))
    assert "unspecified launch failure" in bench.report["failure"]


@pytest.mark.gpu
def test_on_a_full_gpu_the_render_goes_on_dense(bench):
    """The process may not have more than it has plus a little: PSA's buffers do not fit."""
    import comfy.model_management

    long = {"shape": (1, 16, 21, 60, 104), "steps": 2, "cfg": 1.0}
    plain = bench.sample(**long)
    patched = bench.patch(sparse_config(block_m=128, block_n=128, tile_n=128, tail=128))
    torch.cuda.synchronize()
    comfy.model_management.soft_empty_cache(True)
    torch.cuda.reset_peak_memory_stats()
    bench.sample(**long)
    need = torch.cuda.max_memory_reserved()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        # enough for the dense run; PSA gets there only what the dense attention gives back
        torch.cuda.set_per_process_memory_fraction((need + (2 << 20)) / total)
        comfy.model_management.soft_empty_cache(True)
        out = bench.sample(patched, **long)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    if bench.report["failure"] is None:
        pytest.skip("PSA fitted into what the dense attention needs")
    assert "OutOfMemoryError" in bench.report["failure"]
    assert torch.isfinite(out).all()
    if bench.report["calls"]["sparse"] == 0:
        assert (out - plain).abs().max() < 2e-2 * plain.abs().max()
    assert bench.sample(patched, **long).isfinite().all()
    assert bench.report["failure"] is None
