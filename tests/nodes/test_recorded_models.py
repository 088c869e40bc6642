"""PSA in models of which ComfyUI records memory or GPU work, to repeat it."""

import pytest
import torch

from . import comfy_compiler
from .sampling import sparse_config

STEPS, BLOCKS = 6, 2
# kept groups and plans, orders by content, both kinds of dense steps
CONFIGS = {
    "similar": {"grouping": "similar", "refresh": 3},
    "clusters": {"rearrange_method": "SemanticAware"},
    "raster": {"use_rearrange": False, "grouping": "similar"},
}


@pytest.fixture
def compiler(monkeypatch):
    return comfy_compiler.install(monkeypatch)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pattern_repeats_over_steps_and_prompts(bench, compiler, name):
    config = sparse_config(warmup_steps=2, steps={"80-100%": "dense"}, **CONFIGS[name])
    patched = bench.patch(config)
    wanted = bench.sample(patched, steps=STEPS)
    with compiler.on(patched.model.diffusion_model):
        out = bench.sample(patched, steps=STEPS)
        again = bench.sample(patched, steps=STEPS)
    assert torch.equal(out, wanted)
    assert torch.equal(again, wanted)
    plan = bench.report["plan"]
    assert {"dense", "sparse"} == set(plan)
    assert bench.report["calls"]["sparse"] == BLOCKS * plan.count("sparse")
    assert len(compiler.patterns) == 2 * STEPS
    compiler.check()
