"""Mochi: text behind the video, cut to what the prompt fills."""

import dataclasses

import torch

from .. import zoo
from .basics import each, resized, videos
from .configured import configured
from .layout import Layout, check, check_refused

MOCHI = {
    "patch_size": 2, "in_channels": 12, "hidden_size_x": 256, "hidden_size_y": 128, "depth": 2,
    "num_heads": 2, "mlp_ratio_x": 48.0, "mlp_ratio_y": 2.0, "use_t5": True,
    "t5_feat_dim": zoo.TEXT_WIDTH, "t5_token_length": 20, "learn_sigma": False,
    "timestep_scale": 1000.0, "qk_norm": True, "qkv_bias": False, "out_bias": True,
}  # fmt: skip
FILLED = {"attention_mask": torch.tensor([[1] * 13 + [0] * 7])}
LAYOUT = Layout(
    (12, 3, 8, 12), (3, 4, 6), after=13, text=(20, zoo.TEXT_WIDTH), text_inside=True,
    conditions=FILLED,
)  # fmt: skip


def mochi():
    return configured("GenmoMochi", image_model="mochi_preview", **MOCHI)


@each(*videos("Mochi", LAYOUT, divided=False))
def test_mochi(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, mochi(), layout, way)


def test_a_prompt_that_fills_the_text(bench, monkeypatch):
    full = {"attention_mask": torch.ones(1, 20, dtype=torch.int64)}
    check(bench, monkeypatch, mochi(), dataclasses.replace(LAYOUT, after=20, conditions=full))


def test_mochi_cannot_do_latents_that_its_patches_do_not_divide(bench):
    odd = resized(LAYOUT, (2, 9, 13), (2, 4, 6))
    check_refused(bench, mochi(), odd, does=LAYOUT, match="divisible by patch size")
