"""Several GPUs: ComfyUI's multigpu calls the model for its conditions from threads, one a GPU."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from psa_pack.tools.random_wan import write_tiny_wan

from .sampling import SHAPE, sparse_config

THREADS, STEPS, BLOCKS = 4, 6, 2
CONFIG = {"warmup_steps": 1, "grouping": "similar", "refresh": 3}


def in_parts(model, run):
    """The model, each of whose calls is made in `THREADS` parts with rows and conditions of their
    own; `run(part, indices)` makes them."""
    import comfy.patcher_extension

    model = model.clone()

    def share(executor, x, *args, **kwargs):
        def part(i):
            rows = slice(i * len(x) // THREADS, (i + 1) * len(x) // THREADS)

            def own(value):
                if isinstance(value, dict) and "sigmas" in value:
                    return {**value, "cond_or_uncond": [i], "uuids": [i]}
                batched = isinstance(value, torch.Tensor) and value.shape[:1] == x.shape[:1]
                return value[rows] if batched else value

            with torch.inference_mode():  # which is a thread's own
                return executor(
                    x[rows], *map(own, args), **{name: own(value) for name, value in kwargs.items()}
                )

        return torch.cat(list(run(part, range(THREADS))))

    # around PSA's own wrapper, which comes after it
    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    model.wrappers[kind] = {"test_threads": [share], **model.wrappers[kind]}
    return model


def test_four_threads_on_one_run_give_the_bits_of_one_thread(bench):
    names, start = set(), threading.Barrier(THREADS)

    def at_once(part, indices):
        def begin(i):
            start.wait(600)
            names.add(threading.current_thread().name)
            return part(i)

        return pool.map(begin, indices)

    patched = bench.patch(sparse_config(**CONFIG))
    options = {"steps": STEPS, "cfg": 1.0, "shape": (THREADS, *SHAPE[1:])}
    wanted = bench.sample(in_parts(patched, map), **options)
    alone = bench.report
    with ThreadPoolExecutor(THREADS) as pool:
        out = bench.sample(in_parts(patched, at_once), **options)
    assert len(names) == THREADS
    assert torch.equal(out, wanted)
    for report in (alone, bench.report):
        assert report["failure"] is None
        assert report["calls"] == {
            "sparse": (STEPS - 1) * BLOCKS * THREADS,
            "dense": {"cross-attention": STEPS * BLOCKS * THREADS, "warm-up": BLOCKS * THREADS},
        }
    for figure in ("density", "per_level", "mass"):
        assert bench.report[figure] == pytest.approx(alone[figure])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_share_the_conditions(bench, comfy_inproc, tmp_path):
    """By ComfyUI's own node: all calls are counted, and the video is that of one GPU."""
    nodes = pytest.importorskip("comfy_extras.nodes_multigpu", reason="of newer versions")
    # ComfyUI loads the file again for the other GPU
    write_tiny_wan(tmp_path / "tiny_wan.safetensors")
    model = comfy_inproc.load(tmp_path / "tiny_wan.safetensors")
    patched = bench.patch(sparse_config(**CONFIG), model=model)
    wanted = bench.sample(patched, steps=STEPS)
    shared = nodes.MultiGPUCFGSplitNode.execute(patched, max_gpus=2)[0]
    out = bench.sample(shared, steps=STEPS)
    assert bench.report["failure"] is None
    # each condition by itself, both in one call before
    assert bench.report["calls"]["sparse"] == 2 * (STEPS - 1) * BLOCKS
    # other products on a batch of one
    assert (out - wanted).abs().max() < 0.05 * wanted.abs().max()
