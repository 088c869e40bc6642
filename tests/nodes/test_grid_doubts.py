"""Where the token layout is unknown, ambiguous or contradicted: dense, with the right reason."""

import dataclasses

import pytest
import torch

from . import zoo
from .sampling import OVERRIDE, sparse_config, transformer_options


@pytest.fixture
def bench(comfy_inproc, one_thread):
    return zoo.ZooBench()


def run(bench, model, *, latent=(16, 3, 8, 12), text=(20, 4096), **options):
    """text  (tokens, width)"""
    tokens, width = text
    options = {"text_tokens": (tokens, tokens), "text_width": width, **options}
    return bench.sample(model, shape=(1, *latent), steps=2, **options)


def test_a_model_that_is_not_in_the_table_stays_dense(bench, monkeypatch, caplog):
    from psa_pack.nodes.patching.grids import table

    monkeypatch.delitem(table.READERS, "comfy.ldm.wan.model.WanModel")
    model = zoo.wan()
    plain = run(bench, model)
    assert torch.equal(run(bench, bench.patch(model=model)), plain)
    calls = bench.reports[-1]["calls"]
    assert calls["sparse"] == 0
    assert set(calls["dense"]) == {"cross-attention", "unknown token layout"}
    said = [r.getMessage() for r in caplog.records if "token layout" in r.getMessage()]
    assert len(said) == 1 and "WanModel" in said[0]


@pytest.mark.parametrize("text_tokens", [72, 71])
def test_text_as_long_as_the_video_stays_dense(bench, text_tokens):
    model = zoo.wan()
    run(bench, bench.patch(model=model), text=(text_tokens, 4096))
    calls = bench.reports[-1]["calls"]
    if text_tokens == 72:
        assert calls == {"sparse": 0, "dense": {"video and text have the same length": 8}}
    else:
        assert calls == {"sparse": 4, "dense": {"cross-attention": 4}}


def test_image_tokens_as_many_as_the_videos_stay_dense(bench):
    image = {"clip_vision_output": zoo.clip_vision()}
    model = bench.patch(model=zoo.wan(**zoo.I2V))
    run(bench, model, latent=(16, 257, 2, 2), conditions=image)
    calls = bench.reports[-1]["calls"]
    assert calls["sparse"] == 0
    # per block: self-attention and the image's cross-attention; the text's is told apart
    assert calls["dense"] == {"video and text have the same length": 8, "cross-attention": 4}


def test_a_family_that_the_model_contradicts_is_reported(bench, caplog):
    from psa_pack.nodes.preset_value import PresetValue

    model = zoo.wan()
    made_for = PresetValue(sparse_config(), "CogVideo_5b", "x", 226, (32, 32, 4))
    run(bench, bench.patch(model=model, preset=made_for))
    said = [r.getMessage() for r in caplog.records if "the model's own is used" in r.getMessage()]
    # older versions of ComfyUI do not say how large a token is
    knows_scale = hasattr(model.model.latent_format, "spacial_downscale_ratio")
    assert len(said) == 1 + knows_scale
    assert "226 text tokens, this model has 0" in said[0]
    if knows_scale:
        assert "(32, 32, 4)" in said[1] and "(16, 16, 4)" in said[1]
    assert bench.reports[-1]["calls"]["sparse"] > 0

    caplog.clear()
    fitting = PresetValue(sparse_config(), "Wan2.1_14b", "x", 0, (16, 16, 4))
    run(bench, bench.patch(model=model, preset=fitting))
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
    from psa_pack.nodes.patching.grids import table

    name = "comfy.ldm.wan.model.WanModel"
    reader = table.READERS[name]
    monkeypatch.setitem(table.READERS, name, lambda call: fault(reader(call)))
    model = zoo.wan()
    out = run(bench, bench.patch(model=model))
    assert torch.equal(out, run(bench, model))
    assert bench.reports[-1]["calls"] == {"sparse": 0, "dense": {"cross-attention": 4, reason: 4}}
    warned = [r.getMessage() for r in caplog.records if "patch_size" in r.getMessage()]
    assert len(warned) == (fault is no_such_attribute)


@pytest.mark.parametrize(
    ("published", "sparse"),
    [
        (torch.Size([3, 4, 6]), True),
        ([3, 4, 6], True),
        (torch.tensor([3, 4, 6]), True),
        ((3, 6, 4), False),
        ((72,), False),
        (7, False),
        ("no grid", False),
    ],
    ids=str,
)
def test_a_grid_that_the_model_publishes_otherwise_wins(bench, published, sparse):
    import comfy.patcher_extension

    def publish(executor, *args, **kwargs):
        options = transformer_options(args, kwargs)
        served = options[OVERRIDE]

        def override(func, *call_args, **call_kwargs):
            told = {**call_kwargs["transformer_options"], "grid_sizes": published}
            return served(func, *call_args, **{**call_kwargs, "transformer_options": told})

        options[OVERRIDE] = override
        return executor(*args, **kwargs)

    model = bench.patch(model=zoo.wan())
    kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
    model.add_wrapper_with_key(kind, "test", publish)
    run(bench, model)
    calls = bench.reports[-1]["calls"]
    assert calls["sparse"] == (4 if sparse else 0)
    assert calls["dense"].get("unknown token layout", 0) == (0 if sparse else 4)


@pytest.mark.parametrize(
    ("family", "build", "latent", "text"),
    [
        ("Wan2.1_14b", zoo.wan, (16, 3, 8, 12), (20, 4096)),
        ("Wan2.1_1.3b", zoo.wan, (16, 3, 8, 12), (20, 4096)),
        ("Wan2.2_A14B", zoo.wan, (16, 3, 8, 12), (20, 4096)),
        ("Wan2.2_5B", lambda: zoo.wan(in_dim=48, out_dim=48), (48, 3, 8, 12), (20, 4096)),
        ("CogVideo_5b", zoo.cogvideox, (16, 3, 8, 12), (226, zoo.TEXT_WIDTH)),
        (
            "CogVideo1.5_5b",
            lambda: zoo.cogvideox(patch_size_t=2),
            (16, 4, 8, 12),
            (226, zoo.TEXT_WIDTH),
        ),
    ],
)
def test_shipped_families_fit_their_models(
    bench, caplog, comfy_inproc, family, build, latent, text
):
    comfy_inproc.load_pack()
    from psa_pack.nodes.preset_loader import load_preset

    preset = load_preset(family, "fast")
    patched = bench.patch(model=build(), preset=preset, window=(0, 1))
    run(bench, patched, latent=latent, text=text)
    assert bench.reports[-1]["calls"]["sparse"] == 4
    assert not [r.getMessage() for r in caplog.records if r.name == "PSA" and r.levelname != "INFO"]


# family -> its class in comfy.supported_models, what a token spans in its latent
LATENTS = {
    "HunyuanVideo": ("HunyuanVideo", (1, 2, 2)),
    "HunyuanVideo1.5": ("HunyuanVideo15", (1, 1, 1)),
    "LTX-Video": ("LTXV", (1, 1, 1)),
    "LTX-2": ("LTXAV", (1, 1, 1)),
    "Mochi": ("GenmoMochi", (1, 2, 2)),
    "Cosmos-Predict2": ("CosmosT2IPredict2", (1, 2, 2)),
    "Kandinsky5": ("Kandinsky5", (1, 2, 2)),
    "Qwen-Image": ("QwenImage", (1, 2, 2)),
    "Flux": ("Flux", (1, 2, 2)),
    "MiniMax-H3": ("MiniMaxH3", (1, 2, 2)),
}


@pytest.mark.parametrize("family", LATENTS)
def test_shipped_scales_are_those_of_the_latents(comfy_inproc, family):
    comfy_inproc.load_pack()
    import comfy.supported_models

    from psa_engines.core.token_grid import TokenGrid
    from psa_pack.nodes.estimate.models import MODELS
    from psa_pack.nodes.patching.grids import contradictions
    from psa_pack.nodes.preset_loader import load_preset

    name, patch = LATENTS[family]
    assert MODELS[family].comfy == name
    found = getattr(comfy.supported_models, name, None)
    if found is None or not hasattr(found.latent_format, "temporal_downscale_ratio"):
        pytest.skip(f"this ComfyUI does not say what a latent pixel of {name} spans")
    preset = load_preset(family, "balanced")
    for text in (0, 77):
        grid = TokenGrid((3, 4, 6), patch, before=text, text=text)
        # where a family's text varies, no number of tokens contradicts it
        wrong_text = preset.text_length is not None and preset.text_length != text
        assert len(contradictions(preset, grid, found.latent_format)) == wrong_text
    other = dataclasses.replace(grid, patch=(1, 3, 3))
    assert "made for tokens of" in contradictions(preset, other, found.latent_format)[-1]
