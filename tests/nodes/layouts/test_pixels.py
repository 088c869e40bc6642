"""Models of pixels, without a latent between: PixelDiT, PiD, Z-Image in pixel space."""

import dataclasses
import math

import pytest

from .. import zoo
from ..zoo import noise
from .basics import basics, each, named
from .configured import configured
from .layout import Layout, check, check_dense, covers

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
    "decoder_num_res_blocks": 1, "n_refiner_layers": 1,
}  # fmt: skip


def model_of(family):
    kind, name, settings = {
        PIXELDIT: ("PixelDiTT2I", "pixeldit_t2i", DIT),
        PID: ("PiD", "pid", DIT | DECODER),
        Z_IMAGE: ("ZImagePixelSpace", "zimage_pixel", NEXT_DIT),
    }[family]
    return configured(kind, image_model=name, **settings)


def layout(family, size, grid, text=TEXT, **conditions):
    """`size`: height and width in pixels."""
    if family == PID:
        small = (max(1, size[0] // 32), max(1, size[1] // 32))
        conditions |= {"lq_latent": noise(1, 16, *small, seed=2), "degrade_sigma": noise(1).abs()}
    around = {"before": min(text, 300), "alone": 0, "calls": 3}
    if family == Z_IMAGE:  # text and image are filled up to multiples of 32
        around = {"before": text + -text % 32, "after": -math.prod(grid) % 32}
        # its refiners are over one of the two alone
        around["dense"] = ("not the video's tokens",)
    return Layout(
        (3, *size), (1, *grid), patch=(1, SIDE, SIDE), text=(text, zoo.TEXT_WIDTH),
        text_inside=True, conditions=conditions, **around,
    )  # fmt: skip


def cases(family):
    odd = {"odd": ((34, 45), (9, 12)), "1 x N": ((4, 300), (1, 75))}
    odd = {name: layout(family, *size) for name, size in odd.items()}
    return [*basics(family, layout(family, (32, 48), (8, 12))), *named(family, "odd sizes", odd)]


LONG_TEXT = layout(PIXELDIT, (32, 48), (8, 12), text=310)


@each(
    *(case for family in (PIXELDIT, PID, Z_IMAGE) for case in cases(family)),
    covers(PIXELDIT, "sparse & exact", LONG_TEXT, id="long text"),
)
def test_pixels(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(layout.family), layout, way)


@pytest.mark.covers(
    Z_IMAGE, "references", dense="with reference images: these and their captions are interleaved"
)
def test_reference_images_stay_dense(bench):
    edited = layout(Z_IMAGE, (32, 48), (8, 12), reference_latents=[noise(1, 3, 16, 16)])
    edited = dataclasses.replace(edited, options={"cfg": 1.0})
    check_dense(bench, model_of(Z_IMAGE), edited, {"unknown token layout"})
