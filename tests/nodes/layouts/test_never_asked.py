"""Models whose attention does not ask ComfyUI's override: PixArt, Hunyuan-DiT."""

import logging

import pytest
import torch

from .. import zoo
from ..zoo import noise
from .configured import configured
from .layout import Layout, check_dense

PIXART = {
    "image_model": "pixart_alpha", "hidden_size": 120, "depth": 1, "num_heads": 2,
    "caption_channels": zoo.TEXT_WIDTH, "micro_condition": False, "input_size": 16,
}  # fmt: skip
HUNYUAN_DIT = {
    "image_model": "hydit", "hidden_size": 128, "depth": 1, "num_heads": 2,
    "text_states_dim": zoo.TEXT_WIDTH, "text_states_dim_t5": zoo.TEXT_WIDTH, "text_len": 20,
    "text_len_t5": 8, "size_cond": False,
}  # fmt: skip
MASKS = {
    "attention_mask": torch.ones(1, 20), "attention_mask_mt5xl": torch.ones(1, 8),
    "conditioning_mt5xl": noise(1, 8, zoo.TEXT_WIDTH),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "settings", "conditions"),
    [("PixArtAlpha", PIXART, {}), ("HunyuanDiT", HUNYUAN_DIT, MASKS)],
)
def test_it_is_left_as_it_is_and_the_console_says_so(bench, caplog, kind, settings, conditions):
    # PixArt divides by the size in 64ths
    image = Layout((4, 64, 48), (1, 32, 24), text=(20, zoo.TEXT_WIDTH), conditions=conditions)
    with caplog.at_level(logging.WARNING, "PSA"):
        check_dense(bench, configured(kind, **settings), image, {})
    assert "ComfyUI's override" in caplog.text
