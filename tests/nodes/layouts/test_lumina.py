"""Lumina 2 and Z-Image: caption, then the image, each filled up to a multiple."""

import dataclasses

import pytest

from .. import zoo
from ..sampling import ROUNDING, dense_level_config
from ..zoo import noise
from .configured import configured
from .layout import Layout, Way, check, check_dense, covers, sampler

ONE, TWO = "Lumina 2", "Z-Image"
SETTINGS = {
    "patch_size": 2, "in_channels": 16, "dim": 128, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1,
    "multiple_of": 32, "qk_norm": True, "cap_feat_dim": zoo.TEXT_WIDTH, "axes_dims": [16, 24, 24],
    "axes_lens": [300, 512, 512],
}  # fmt: skip
Z_IMAGE = {
    "dim": 256, "n_heads": 4, "n_kv_heads": 4, "rope_theta": 256.0, "z_image_modulation": True,
    "time_scale": 1000.0, "pad_tokens_multiple": 32,
}  # fmt: skip


def lumina(family, refiners=0):
    # A refiner over the image mixes its tokens: without one each can be followed.
    more = Z_IMAGE if family == TWO else {}
    return configured(
        "Lumina2", image_model="lumina2", n_refiner_layers=refiners, **SETTINGS | more
    )


def layout(family, latent, grid, after=0, **conditions):
    before = 32 if family == TWO else 20
    return Layout(
        (16, *latent), (1, *grid), before=before, after=after, text=(20, zoo.TEXT_WIDTH),
        text_inside=True, conditions=conditions,
    )  # fmt: skip


def case(family, feature, *size, id=None):
    return covers(family, feature, (family, layout(family, *size)), id=id)


@pytest.mark.parametrize(
    ("case", "way"),
    [
        *(case(ONE, f, (16, 24), (8, 12)) for f in ("sparse & exact", "batch 3", "CFG split")),
        case(ONE, "odd sizes", (17, 23), (9, 12)),
        case(ONE, "odd sizes", (2, 150), (1, 75), id="Lumina 2, 1 x N"),
        *(case(TWO, f, (16, 24), (8, 12)) for f in ("sparse & exact", "batch 3", "CFG split")),
        case(TWO, "odd sizes", (17, 23), (9, 12), 20),
        case(TWO, "odd sizes", (2, 150), (1, 75), 21, id="Z-Image, 1 x N"),
    ],
)
def test_lumina(bench, monkeypatch, case, way):
    family, layout = case
    check(bench, monkeypatch, lumina(family), layout, way)
    assert bench.report["calls"]["dense"] == {}


@pytest.mark.parametrize("family", [ONE, TWO])
def test_refiners_over_caption_or_image_alone_stay_dense(bench, family):
    model = lumina(family, refiners=1)
    sample = sampler(bench, layout(family, (16, 24), (8, 12)), Way())
    plain = sample(model)
    out = sample(bench.patch(dense_level_config(), model=model))
    # two layers, and a refiner of each kind, in two steps
    assert bench.report["calls"] == {"sparse": 4, "dense": {"not the video's tokens": 4}}
    assert (out - plain).abs().max() < ROUNDING * plain.abs().max()


@pytest.mark.covers(
    TWO, "references", dense="with reference images: these and their captions are interleaved"
)
def test_reference_images_stay_dense(bench):
    model = lumina(TWO)
    if not zoo.takes(model, "ref_latents"):
        pytest.skip("this ComfyUI's Z-Image takes no reference images")
    edited = layout(TWO, (16, 24), (8, 12), reference_latents=[noise(1, 16, 8, 8)])
    edited = dataclasses.replace(edited, options={"cfg": 1.0})
    check_dense(bench, model, edited, {"unknown token layout"})
