"""Models of pixels, without a latent between: PixelDiT, PiD, Z-Image in pixel space."""

import dataclasses

import pytest

from .. import zoo
from ..sampling import ROUNDING, dense_level_config
from ..zoo import noise
from .basics import basics, each
from .configured import configured
from .layout import Layout, Way, check, check_dense, covers, sampler

PIXELDIT, PID, Z_IMAGE = "PixelDiT", "PiD", "Z-Image in pixel space"
SIDE, TEXT = 4, 20
DIT = {
    "num_groups": 2, "hidden_size": 128, "pixel_hidden_size": 16, "pixel_attn_hidden_size": 64,
    "pixel_num_groups": 2, "patch_depth": 2, "pixel_depth": 1, "patch_size": SIDE,
    "txt_embed_dim": zoo.TEXT_WIDTH, "txt_max_length": 300,
}  # fmt: skip
# a latent of 8 times 4 pixels a side
DECODER = {"lq_latent_channels": 16, "lq_hidden_dim": 16, "lq_num_res_blocks": 1}
NEXT_DIT = {
    "patch_size": SIDE, "in_channels": 3, "dim": 256, "n_layers": 2, "n_heads": 4, "n_kv_heads": 4,
    "multiple_of": 32, "qk_norm": True, "cap_feat_dim": zoo.TEXT_WIDTH, "axes_dims": [16, 24, 24],
    "axes_lens": [300, 512, 512], "rope_theta": 256.0, "z_image_modulation": True,
    "time_scale": 1000.0, "pad_tokens_multiple": 32, "decoder_hidden_size": 64,
    "decoder_num_res_blocks": 1, "n_refiner_layers": 0,
}  # fmt: skip


def model_of(family, **changes):
    kind, name, settings = {
        PIXELDIT: ("PixelDiTT2I", "pixeldit_t2i", DIT),
        PID: ("PiD", "pid", DIT | DECODER),
        Z_IMAGE: ("ZImagePixelSpace", "zimage_pixel", NEXT_DIT),
    }[family]
    return configured(kind, image_model=name, **settings | changes)


def layout(family, size, grid, after=0, text=TEXT, **conditions):
    """`size`: height and width in pixels."""
    if family == PID:
        small = (max(1, size[0] // 32), max(1, size[1] // 32))
        conditions |= {"lq_latent": noise(1, 16, *small, seed=2), "degrade_sigma": noise(1).abs()}
    more = {"alone": 0, "calls": 3} if family != Z_IMAGE else {}
    before = -(-text // 32) * 32 if family == Z_IMAGE else min(text, 300)
    return Layout(
        (3, *size), (1, *grid), before=before, after=after, patch=(1, SIDE, SIDE),
        text=(text, zoo.TEXT_WIDTH), text_inside=True, conditions=conditions, **more,
    )  # fmt: skip


def cases(family, after=(0, 20, 21)):
    after = after if family == Z_IMAGE else (0, 0, 0)
    return [
        *basics(family, layout(family, (32, 48), (8, 12), after[0])),
        covers(
            family, "odd sizes", layout(family, (34, 45), (9, 12), after[1]), id=f"{family}, odd"
        ),
        covers(
            family, "odd sizes", layout(family, (4, 300), (1, 75), after[2]), id=f"{family}, 1 x N"
        ),
    ]


@each(
    *cases(PIXELDIT),
    covers(
        PIXELDIT, "sparse & exact", layout(PIXELDIT, (32, 48), (8, 12), text=310), id="long text"
    ),
)
def test_pixeldit(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(PIXELDIT), layout, way)
    assert bench.report["calls"]["dense"] == {}


@each(*cases(PID))
def test_pid(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(PID), layout, way)
    assert bench.report["calls"]["dense"] == {}


@each(*cases(Z_IMAGE))
def test_z_image(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(Z_IMAGE), layout, way)
    assert bench.report["calls"]["dense"] == {}


def test_refiners_of_z_image_stay_dense(bench):
    model = model_of(Z_IMAGE, n_refiner_layers=1)
    sample = sampler(bench, layout(Z_IMAGE, (32, 48), (8, 12)), Way())
    plain = sample(model)
    out = sample(bench.patch(dense_level_config(), model=model))
    assert bench.report["calls"] == {"sparse": 4, "dense": {"not the video's tokens": 4}}
    assert (out - plain).abs().max() < ROUNDING * plain.abs().max()


@pytest.mark.covers(
    Z_IMAGE, "references", dense="with reference images: these and their captions are interleaved"
)
def test_reference_images_stay_dense(bench):
    edited = layout(Z_IMAGE, (32, 48), (8, 12), reference_latents=[noise(1, 3, 16, 16)])
    edited = dataclasses.replace(edited, options={"cfg": 1.0})
    check_dense(bench, model_of(Z_IMAGE), edited, {"unknown token layout"})
