"""HiDream-I1: the image, then its text as two encoders saw it."""

import pytest

from .. import zoo
from ..zoo import noise
from .basics import each, images
from .configured import configured
from .layout import Layout, check, check_dense

FAMILY = "HiDream-I1"
SETTINGS = {
    "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 1,
    "num_single_layers": 1, "attention_head_dim": 64, "num_attention_heads": 2,
    "caption_channels": [zoo.TEXT_WIDTH, zoo.TEXT_WIDTH], "text_emb_dim": 64,
    # experts are chosen by a hair: rounding would choose others
    "num_routed_experts": 0,
    "axes_dims_rope": (32, 16, 16), "llama_layers": [0, 1],
}  # fmt: skip
TEXT = {
    "pooled_output": noise(1, 64),
    "conditioning_llama3": noise(1, 2, 7, zoo.TEXT_WIDTH, seed=1),
}


def hidream():
    return configured("HiDream", image_model="hidream", **SETTINGS)


def layout(latent, grid, **conditions):
    # T5's tokens, then the last and the current layer of Llama's
    return Layout(
        (16, *latent), (1, *grid), after=20 + 7 + 7, text=(20, zoo.TEXT_WIDTH), text_inside=True,
        conditions={**TEXT, **conditions},
    )  # fmt: skip


@each(*images(FAMILY, layout))
def test_hidream(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, hidream(), layout, way)


@pytest.mark.covers(
    FAMILY,
    "references",
    dense="with an image to edit: its rows alternate with those of the new image",
)
def test_an_image_to_edit_lies_in_the_same_rows_and_stays_dense(bench):
    edited = layout((16, 24), (8, 12), concat_latent_image=noise(1, 16, 16, 24, seed=3))
    check_dense(bench, hidream(), edited, {"unknown token layout"})
