"""Cosmos 1, Cosmos-Predict2 and Anima: nothing but the video in self-attention."""

import pytest

from .. import zoo
from .basics import basics, each, odd_sizes, resized, windows
from .configured import configured
from .layout import Layout, check, check_refused

SIZE = {
    "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16,
    "patch_spatial": 2, "patch_temporal": 1, "model_channels": 256, "num_heads": 2,
    "num_blocks": 2, "crossattn_emb_channels": zoo.TEXT_WIDTH, "pos_emb_cls": "rope3d",
    "pos_emb_learnable": True, "use_adaln_lora": True, "adaln_lora_dim": 32,
}  # fmt: skip
COSMOS_1 = {
    **SIZE, "concat_padding_mask": True, "block_config": "FA-CA-MLP", "block_x_format": "THWBD",
    "affline_emb_norm": True, "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
}  # fmt: skip
PREDICT2 = {**SIZE, "concat_padding_mask": True, "min_fps": 1, "max_fps": 30}
ANIMA_TEXT = 1024
LAYOUT = Layout((16, 3, 8, 12), (3, 4, 6), text=(20, zoo.TEXT_WIDTH))
ANIMA_LAYOUT = Layout((16, 3, 8, 12), (3, 4, 6), text=(20, ANIMA_TEXT))
ODD = resized(LAYOUT, (2, 9, 13), (2, 5, 7))


def cosmos_1(kind="CosmosT2V", **changes):
    return configured(kind, image_model="cosmos", **COSMOS_1 | changes)


def predict2(kind="CosmosT2IPredict2", **changes):
    return configured(kind, image_model="cosmos_predict2", **PREDICT2 | changes)


def pads(model):
    return zoo.takes(model, "pad_to_patch_size")


@each(
    *basics("Cosmos 1", LAYOUT),
    *odd_sizes("Cosmos 1", LAYOUT, divided=False),
    *windows("Cosmos 1", LAYOUT),
)
def test_cosmos_1(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, cosmos_1(), layout, way)


def test_cosmos_1_cannot_do_latents_that_its_patches_do_not_divide(bench):
    # an assertion without words
    check_refused(bench, cosmos_1(), ODD, does=LAYOUT, match="^$")


@each(
    *basics("Cosmos-Predict2", LAYOUT),
    *odd_sizes("Cosmos-Predict2", LAYOUT, divided=False),
    *windows("Cosmos-Predict2", LAYOUT),
)
def test_predict2(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, predict2(), layout, way)


def test_predict2_pads_what_its_patches_do_not_divide_or_refuses_it(bench, monkeypatch):
    model = predict2()
    if pads(model):
        check(bench, monkeypatch, model, ODD)
    else:
        check_refused(bench, model, ODD, does=LAYOUT, match="divisible by spatial_patch_size")


@pytest.mark.parametrize("build", [cosmos_1, predict2])
def test_image_to_video(bench, monkeypatch, build):
    """One channel more, which says where frames are given."""
    kind = "CosmosI2V" if build is cosmos_1 else "CosmosI2VPredict2"
    check(bench, monkeypatch, build(kind, in_channels=17), LAYOUT)


@each(
    *basics("Anima", ANIMA_LAYOUT),
    *odd_sizes("Anima", ANIMA_LAYOUT),
    *windows("Anima", ANIMA_LAYOUT),
)
def test_anima(bench, monkeypatch, layout, way):
    model = configured(
        "Anima", image_model="anima", **PREDICT2 | {"crossattn_emb_channels": ANIMA_TEXT}
    )
    check(bench, monkeypatch, model, layout, way)
