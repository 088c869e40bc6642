"""Qwen-Image: text, the image or its layers, reference images."""

import inspect

import pytest
import torch

from .. import zoo
from ..zoo import noise
from .basics import each, images
from .configured import configured
from .layout import Layout, check, check_dense, covers

FAMILY = "Qwen-Image, Edit"
SETTINGS = {
    "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 64,
    "joint_attention_dim": zoo.TEXT_WIDTH, "axes_dims_rope": (16, 24, 24), "in_channels": 64,
    "out_channels": 16,
}  # fmt: skip


def layout(latent, grid, after=0, **conditions):
    return Layout(
        latent, grid, before=20, after=after, text=(20, zoo.TEXT_WIDTH), text_inside=True,
        conditions=conditions,
    )  # fmt: skip


def image(size, grid, **more):
    return layout((16, 1, *size), (1, *grid), **more)


def qwen_image():
    return configured("QwenImage", image_model="qwen_image", **SETTINGS)


EDITED = {"reference_latents": [noise(1, 16, 1, 11, 23, seed=1), noise(1, 16, 1, 8, 8, seed=2)]}


@each(
    *images(FAMILY, image),
    covers(FAMILY, "references", image((16, 24), (8, 12), after=6 * 12 + 4 * 4, **EDITED)),
)
def test_qwen_image(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, qwen_image(), layout, way)


def test_layers(bench, monkeypatch):
    model = qwen_image()
    if not zoo.takes(model, "t_len"):
        pytest.skip("this ComfyUI's Qwen-Image has no layers")
    check(bench, monkeypatch, model, layout((16, 3, 8, 12), (3, 4, 6)))


def test_a_mask_over_text_that_is_filled_up_stays_dense(bench):
    model = qwen_image()
    if "attention_mask" not in inspect.getsource(type(model.model).extra_conds):
        pytest.skip("this ComfyUI's Qwen-Image takes no mask")
    mask = torch.tensor([[1] * 15 + [0] * 5])
    check_dense(bench, model, image((16, 24), (8, 12), attention_mask=mask), {"masked attention"})
