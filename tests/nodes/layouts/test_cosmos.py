"""Cosmos 1, Cosmos-Predict2 and Anima: nothing but the video in self-attention."""

import pytest

from .. import zoo
from .basics import each, resized, videos
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
ONE, TWO, ANIMA = "Cosmos 1", "Cosmos-Predict2", "Anima"
# family -> class in supported_models, that of image to video, name of the model, settings
KINDS = {
    ONE: ("CosmosT2V", "CosmosI2V", "cosmos", COSMOS_1),
    TWO: ("CosmosT2IPredict2", "CosmosI2VPredict2", "cosmos_predict2", PREDICT2),
    ANIMA: ("Anima", None, "anima", PREDICT2 | {"crossattn_emb_channels": ANIMA_TEXT}),
}
LAYOUT = Layout((16, 3, 8, 12), (3, 4, 6), text=(20, zoo.TEXT_WIDTH))
ANIMA_LAYOUT = Layout((16, 3, 8, 12), (3, 4, 6), text=(20, ANIMA_TEXT))
ODD = resized(LAYOUT, (2, 9, 13), (2, 5, 7))


def model_of(family):
    kind, _, name, settings = KINDS[family]
    return configured(kind, image_model=name, **settings)


@each(
    *videos(ONE, LAYOUT, divided=False),
    *videos(TWO, LAYOUT, divided=False),
    *videos(ANIMA, ANIMA_LAYOUT),
)
def test_cosmos(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(layout.family), layout, way)


def test_cosmos_1_cannot_do_latents_that_its_patches_do_not_divide(bench):
    # an assertion without words
    check_refused(bench, model_of(ONE), ODD, does=LAYOUT, match="^$")


def test_predict2_pads_what_its_patches_do_not_divide_or_refuses_it(bench, monkeypatch):
    model = model_of(TWO)
    if zoo.takes(model, "pad_to_patch_size"):
        check(bench, monkeypatch, model, ODD)
    else:
        check_refused(bench, model, ODD, does=LAYOUT, match="divisible by spatial_patch_size")


@pytest.mark.parametrize("family", [ONE, TWO])
def test_image_to_video(bench, monkeypatch, family):
    """One channel more, which says where frames are given."""
    _, kind, name, settings = KINDS[family]
    model = configured(kind, image_model=name, **settings | {"in_channels": 17})
    check(bench, monkeypatch, model, LAYOUT)
