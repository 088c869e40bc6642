"""Token layouts read from ComfyUI's own model classes, against what the models really make."""

import dataclasses
import math
import types

import pytest
import torch

from . import zoo
from .sampling import Bench, Spy, dense_level_config, sparse_config


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def clip_vision(tokens=257):
    return types.SimpleNamespace(penultimate_hidden_states=noise(1, tokens, 1280, seed=4))


@dataclasses.dataclass(frozen=True)
class Case:
    """One model, one latent size `[channels, frames, height, width]`, and the layout it has."""

    model: dict
    latent: tuple[int, ...]
    grid: tuple[int, int, int]
    before: int = 0
    after: int = 0
    conditions: dict = dataclasses.field(default_factory=dict)
    # an argument of the model that older versions do not have
    needs: str = ""


REFERENCE = {"reference_latents": [noise(1, 16, 1, 8, 12, seed=1)]}
LATER = {"time_dim_concat": noise(1, 16, 2, 8, 12, seed=2)}
CONTEXT = {"context_latents": [noise(1, 16, 1, 8, 12, seed=3), noise(1, 16, 2, 5, 7, seed=4)]}
IMAGE = {
    "concat_latent_image": noise(1, 16, 3, 8, 12, seed=5),
    "concat_mask": torch.zeros(1, 1, 3, 8, 12),
    "clip_vision_output": clip_vision(),
}
I2V = {"model_type": "i2v", "in_dim": 36}
WITH_REFERENCE = {"in_dim_ref_conv": 16}

WAN_CASES = {
    "t2v": Case({}, (16, 3, 8, 12), (3, 4, 6)),
    "t2v, odd size": Case({}, (16, 2, 9, 13), (2, 5, 7)),
    "t2v, one frame": Case({}, (16, 1, 16, 20), (1, 8, 10)),
    "2.2 with 48 channels": Case({"in_dim": 48, "out_dim": 48}, (48, 3, 8, 12), (3, 4, 6)),
    "i2v": Case(I2V, (16, 3, 8, 12), (3, 4, 6), conditions=IMAGE),
    "i2v, odd size": Case(
        I2V, (16, 2, 9, 13), (2, 5, 7), conditions={"clip_vision_output": clip_vision()}
    ),
    "first and last frame": Case(
        {**I2V, "flf_pos_embed_token_number": 514}, (16, 3, 8, 12), (3, 4, 6),
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


class Probe:
    """What token_grid said, and the sizes that the model's own patch embeddings made."""

    def __init__(self, monkeypatch, model):
        from psa_pack.nodes.patching import apply

        self.said, self.made = [], []
        real = apply.token_grid

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


@pytest.fixture
def bench(comfy_inproc, one_thread):
    bench = Bench.__new__(Bench)
    bench.reports = []
    return bench


def run(bench, model, case, text=(20, 4096), text_tokens=None):
    width = text[1]
    options = {
        "shape": (1, *case.latent),
        "steps": 2,
        "text_tokens": text_tokens or (text[0], text[0]),
        "text_width": width,
        "conditions": case.conditions,
    }
    return bench.sample(model, **options)


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
    assert {call.queries for call in spy.sparse} == {grid.length}
    # two blocks, two steps, both conditions in one call
    assert bench.reports[-1]["calls"]["sparse"] == len(spy.sparse) == 4
    assert bench.reports[-1]["failure"] is None
    # float32 rounding of another order of summation
    assert (out - plain).abs().max() < 1e-4 * plain.abs().max()
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


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("VaceWanModel", {"vace_layers": 1, "vace_in_dim": 96}),
        ("CameraWanModel", {"in_dim": 32}),
        ("HumoWanModel", {}),
    ],
)
def test_a_model_that_is_not_in_the_table_stays_dense(bench, caplog, kind, settings):
    model = zoo.wan(kind, **settings)
    case = Case({}, (16, 3, 8, 12), (3, 4, 6))
    plain = run(bench, model, case)
    assert torch.equal(run(bench, bench.patch(model=model), case), plain)
    calls = bench.reports[-1]["calls"]
    assert calls["sparse"] == 0
    assert set(calls["dense"]) == {"cross-attention", "unknown token layout"}
    said = [r.getMessage() for r in caplog.records if "token layout" in r.getMessage()]
    assert [line for line in said if kind in line] == said[:1]


@pytest.mark.parametrize("text_tokens", [72, 71])
def test_text_as_long_as_the_video_stays_dense(bench, text_tokens):
    model = zoo.wan()
    case = Case({}, (16, 3, 8, 12), (3, 4, 6))
    run(bench, bench.patch(model=model), case, text=(text_tokens, 4096))
    calls = bench.reports[-1]["calls"]
    if text_tokens == 72:
        assert calls == {"sparse": 0, "dense": {"video and text have the same length": 8}}
    else:
        assert calls == {"sparse": 4, "dense": {"cross-attention": 4}}


def test_image_tokens_as_many_as_the_videos_stay_dense(bench):
    case = Case(I2V, (16, 257, 2, 2), (257, 1, 1), conditions={"clip_vision_output": clip_vision()})
    run(bench, bench.patch(model=zoo.wan(**I2V)), case)
    calls = bench.reports[-1]["calls"]
    assert calls["sparse"] == 0
    # per block: self-attention and the image's cross-attention; the text's is told apart
    assert calls["dense"] == {"video and text have the same length": 8, "cross-attention": 4}


def test_a_family_that_the_model_contradicts_is_reported(bench, caplog):
    from psa_pack.nodes.preset_value import PresetValue

    model = zoo.wan()
    case = Case({}, (16, 3, 8, 12), (3, 4, 6))
    made_for = PresetValue(sparse_config(), "CogVideo_5b", "x", 226, (32, 32, 4))
    run(bench, bench.patch(model=model, preset=made_for), case)
    said = [r.getMessage() for r in caplog.records if "the model's own is used" in r.getMessage()]
    assert [line for line in said if "226 text tokens, this model has 0" in line] == said[:1]
    if hasattr(model.model.latent_format, "spacial_downscale_ratio"):
        assert "(32, 32, 4)" in said[1] and "(16, 16, 4)" in said[1]
    assert bench.reports[-1]["calls"]["sparse"] > 0

    caplog.clear()
    fitting = PresetValue(sparse_config(), "Wan2.1_14b", "x", 0, (16, 16, 4))
    run(bench, bench.patch(model=model, preset=fitting), case)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def wrong_grid(found):
    return dataclasses.replace(found, grid=(3, 4, 5))


def no_such_attribute(found):
    raise AttributeError("'WanModel' object has no attribute 'patch_size'")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(wrong_grid, "not the video's tokens"), (no_such_attribute, "unknown token layout")],
)
def test_a_model_unlike_its_class_stays_dense(bench, monkeypatch, caplog, fault, reason):
    """A fork or a later version may keep the name of a class and not its layout."""
    from psa_pack.nodes.patching import grids

    name = "comfy.ldm.wan.model.WanModel"
    reader = grids._READERS[name]
    monkeypatch.setitem(grids._READERS, name, lambda call: fault(reader(call)))
    model, case = zoo.wan(), Case({}, (16, 3, 8, 12), (3, 4, 6))
    out = run(bench, bench.patch(model=model), case)
    assert torch.equal(out, run(bench, model, case))
    assert bench.reports[-1]["calls"] == {"sparse": 0, "dense": {"cross-attention": 4, reason: 4}}
    warned = [r.getMessage() for r in caplog.records if "patch_size" in r.getMessage()]
    assert len(warned) == (fault is no_such_attribute)
