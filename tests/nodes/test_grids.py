"""Token layouts read from ComfyUI's own model classes, against what the models really make."""

import math

import pytest
import torch

from . import zoo
from .sampling import (
    ROUNDING,
    Spy,
    dense_level_config,
    sparse_config,
)
from .zoo import Case, clip_vision, noise, run

REFERENCE = {"reference_latents": [noise(1, 16, 1, 8, 12, seed=1)]}
LATER = {"time_dim_concat": noise(1, 16, 2, 8, 12, seed=2)}
CONTEXT = {"context_latents": [noise(1, 16, 1, 8, 12, seed=3), noise(1, 16, 2, 5, 7, seed=4)]}
IMAGE = {
    "concat_latent_image": noise(1, 16, 3, 8, 12, seed=5),
    "concat_mask": torch.zeros(1, 1, 3, 8, 12),
    "clip_vision_output": clip_vision(),
}
WITH_REFERENCE = {"in_dim_ref_conv": 16}

WAN_CASES = {
    "t2v": Case({}, (16, 3, 8, 12), (3, 4, 6)),
    "t2v, odd size": Case({}, (16, 2, 9, 13), (2, 5, 7)),
    "t2v, one frame": Case({}, (16, 1, 16, 20), (1, 8, 10)),
    "2.2 with 48 channels": Case({"in_dim": 48, "out_dim": 48}, (48, 3, 8, 12), (3, 4, 6)),
    "i2v": Case(zoo.I2V, (16, 3, 8, 12), (3, 4, 6), conditions=IMAGE),
    "i2v, odd size": Case(
        zoo.I2V, (16, 2, 9, 13), (2, 5, 7), conditions={"clip_vision_output": clip_vision()}
    ),
    "first and last frame": Case(
        {**zoo.I2V, "flf_pos_embed_token_number": 514}, (16, 3, 8, 12), (3, 4, 6),
        conditions={**IMAGE, "clip_vision_output": clip_vision(514)},
    ),
    "reference": Case(WITH_REFERENCE, (16, 3, 8, 12), (3, 4, 6), before=24, conditions=REFERENCE),
    "a reference model without one": Case(WITH_REFERENCE, (16, 3, 8, 12), (3, 4, 6)),
    "a reference for a model without": Case({}, (16, 3, 8, 12), (3, 4, 6), conditions=REFERENCE),
    "frames appended": Case({}, (16, 3, 8, 12), (5, 4, 6), conditions=LATER),
    "reference and frames": Case(
        WITH_REFERENCE, (16, 3, 8, 12), (5, 4, 6), before=24, conditions={**REFERENCE, **LATER}
    ),
    "context": Case(
        {}, (16, 3, 8, 12), (3, 4, 6), after=24 + 2 * 3 * 4, conditions=CONTEXT,
        needs="context_latents",
    ),
    "reference and context": Case(
        WITH_REFERENCE, (16, 3, 8, 12), (3, 4, 6), before=24, after=24 + 2 * 3 * 4,
        conditions={**REFERENCE, **CONTEXT}, needs="context_latents",
    ),
}  # fmt: skip

COGVIDEOX_CASES = {
    "1.0": Case({}, (16, 3, 8, 12), (3, 4, 6), before=20),
    "1.0, odd size": Case({}, (16, 2, 9, 13), (2, 5, 7), before=20),
    "1.5": Case({"patch_size_t": 2}, (16, 4, 8, 12), (2, 4, 6), before=20),
    "1.5, odd size": Case({"patch_size_t": 2}, (16, 3, 9, 13), (2, 5, 7), before=20),
    "1.0 i2v": Case({"in_channels": 32}, (16, 3, 8, 12), (3, 4, 6), before=20),
    "1.5 i2v": Case({"in_channels": 32, "patch_size_t": 2}, (16, 3, 8, 12), (2, 4, 6), before=20),
}


@pytest.fixture
def bench(comfy_inproc, one_thread):
    return zoo.ZooBench()


class Probe:
    """What token_grid said, what PSA was told, and what the model's own patch embeddings made."""

    def __init__(self, monkeypatch, model):
        from psa_pack.nodes.patching import apply, override

        self.said, self.told, self.made = [], [], []
        real, attention = apply.token_grid, override.psa_attention

        def psa_attention(*args, grid, extra_tokens, **kwargs):
            self.told.append((grid, extra_tokens))
            return attention(*args, grid=grid, extra_tokens=extra_tokens, **kwargs)

        monkeypatch.setattr(override, "psa_attention", psa_attention)

        def token_grid(call):
            self.said.append(real(call))
            return self.said[-1]

        monkeypatch.setattr(apply, "token_grid", token_grid)
        diffusion_model = model.model.diffusion_model
        self.hooks = []
        for name in ("patch_embedding", "ref_conv"):
            module = getattr(diffusion_model, name, None)
            if module is not None:
                self.hooks.append(module.register_forward_hook(self._made(name)))

    def _made(self, name):
        def hook(module, args, out):
            self.made.append((name, tuple(out.shape[2:])))

        return hook


def check(bench, monkeypatch, model, case, text):
    """The layout is right, and full-resolution PSA in Gilbert order gives the dense result."""
    probe = Probe(monkeypatch, model)
    plain = run(bench, model, case, text)
    spy = Spy()
    out = run(bench, spy.on(bench.patch(dense_level_config(), model=model)), case, text)
    for hook in probe.hooks:
        hook.remove()
    grid = probe.said[0]
    assert (grid.grid, grid.before, grid.after) == (case.grid, case.before, case.after)
    assert set(probe.told) == {(case.grid, (case.before, case.after))}
    assert {call.queries for call in spy.sparse} == {grid.length}
    # two blocks, two steps, both conditions in one call
    assert bench.reports[-1]["calls"]["sparse"] == len(spy.sparse) == 4
    assert bench.reports[-1]["failure"] is None
    # another order of summation
    assert (out - plain).abs().max() < ROUNDING * plain.abs().max()
    sparse = run(bench, bench.patch(sparse_config(), model=model), case, text)
    assert (sparse - plain).abs().max() > 1e-3 * plain.abs().max()
    return probe


@pytest.mark.parametrize("name", WAN_CASES)
def test_wan(bench, monkeypatch, name):
    case = WAN_CASES[name]
    model = zoo.wan(**case.model)
    if case.needs and not zoo.takes(model, case.needs):
        pytest.skip(f"this ComfyUI's Wan has no {case.needs}")
    probe = check(bench, monkeypatch, model, case, text=(20, 4096))
    videos = [size for kind, size in probe.made if kind == "patch_embedding"]
    references = [size for kind, size in probe.made if kind == "ref_conv"]
    assert videos[0] == case.grid
    per_call = len(case.conditions.get("context_latents", ())) + 1
    assert sum(math.prod(size) for size in videos[1:per_call]) == case.after
    assert sum(math.prod(size) for size in references[:1]) == case.before


@pytest.mark.parametrize("name", COGVIDEOX_CASES)
def test_cogvideox(bench, monkeypatch, name):
    case = COGVIDEOX_CASES[name]
    model = zoo.cogvideox(**case.model)
    kind, rotary = type(model.model.diffusion_model), []
    real = kind._get_rotary_emb

    def seen(self, height, width, frames, **kwargs):
        rotary.append((frames, height, width))
        return real(self, height, width, frames, **kwargs)

    monkeypatch.setattr(kind, "_get_rotary_emb", seen)
    check(bench, monkeypatch, model, case, text=(20, zoo.TEXT_WIDTH))
    assert set(rotary) == {case.grid}
