"""Lumina 2 and Z-Image: caption, then the image, each filled up to a multiple."""

import dataclasses
import math
from functools import partial

import pytest

from .. import zoo
from ..zoo import noise
from .basics import each, images
from .configured import configured
from .layout import Layout, check, check_dense

ONE, TWO = "Lumina 2", "Z-Image"
SETTINGS = {
    "patch_size": 2, "in_channels": 16, "dim": 128, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1,
    "multiple_of": 32, "qk_norm": True, "cap_feat_dim": zoo.TEXT_WIDTH, "axes_dims": [16, 24, 24],
    "axes_lens": [300, 512, 512], "n_refiner_layers": 1,
}  # fmt: skip
Z_IMAGE = {
    "dim": 256, "n_heads": 4, "n_kv_heads": 4, "rope_theta": 256.0, "z_image_modulation": True,
    "time_scale": 1000.0, "pad_tokens_multiple": 32,
}  # fmt: skip


def lumina(family):
    more = Z_IMAGE if family == TWO else {}
    return configured("Lumina2", image_model="lumina2", **SETTINGS | more)


def layout(family, latent, grid, **conditions):
    before = 32 if family == TWO else 20
    # Z-Image's 8 x 12, 9 x 12 and 1 x 75 tokens are filled up to multiples of 32
    after = -math.prod(grid) % 32 if family == TWO else 0
    return Layout(
        (16, *latent), (1, *grid), before=before, after=after, text=(20, zoo.TEXT_WIDTH),
        text_inside=True, conditions=conditions,
        dense=("not the video's tokens",),  # the refiners, over caption or image alone
    )  # fmt: skip


@each(*(case for f in (ONE, TWO) for case in images(f, partial(layout, f))))
def test_lumina(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, lumina(layout.family), layout, way)


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
