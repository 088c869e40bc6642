"""Wan 2.1 and 2.2 and what is built on them: where the video's tokens are in each."""

import dataclasses
import math

import pytest
import torch

from .. import zoo
from ..zoo import clip_vision, noise
from . import basics as common
from .basics import each
from .layout import Layout, check, covers

SMALL = (16, 3, 8, 12)


def image(channels, frames, height, width):
    return {
        "concat_latent_image": noise(1, channels, frames, height, width, seed=5),
        "concat_mask": torch.zeros(1, 1, frames, height, width),
    }


def small(**settings):
    return Layout(SMALL, (3, 4, 6), **settings)


def basics(family, **settings):
    return common.basics(family, small(**settings))


def odd_sizes(family, **settings):
    return common.odd_sizes(family, small(**settings))


def windows(family, id=None, **settings):
    return common.windows(family, small(**settings), id)


REFERENCE = {"reference_latents": [noise(1, 16, 1, 8, 12, seed=1)]}
# cut without padding: 10 x 14 gives the 5 x 7 tokens that a padded 9 x 13 has
EVEN_REFERENCE = {"reference_latents": [noise(1, 16, 1, 10, 14, seed=1)]}
CONTEXT = {"context_latents": [noise(1, 16, 1, 8, 12, seed=3), noise(1, 16, 2, 5, 7, seed=4)]}
CONTEXT_TOKENS = 4 * 6 + 2 * 3 * 4


T2V = "Wan 2.1, 2.2 text to video"


@each(*basics(T2V), *odd_sizes(T2V), *windows(T2V))
def test_text_to_video(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, zoo.wan(), layout, way)


def known(model, layout):
    if layout.needs and not zoo.takes(model, layout.needs):
        pytest.skip(f"this ComfyUI's Wan has no {layout.needs}")
    return model


I2V = "Wan 2.1, 2.2 image to video"
IMAGE = {**image(16, 3, 8, 12), "clip_vision_output": clip_vision()}


@each(
    *basics(I2V, conditions=IMAGE),
    *odd_sizes(I2V, conditions={"clip_vision_output": clip_vision()}),
    *windows(
        I2V,
        conditions={**image(16, 5, 8, 12), "clip_vision_output": clip_vision()},
        whole_video=True,
    ),
)
def test_image_to_video(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, zoo.wan(**zoo.I2V), layout, way)


FLF = "Wan 2.1 first and last frame"


@each(*basics(FLF), *odd_sizes(FLF), *windows(FLF, whole_video=True))
def test_first_and_last_frame(bench, monkeypatch, layout, way):
    model = zoo.wan(**zoo.I2V, flf_pos_embed_token_number=514)
    images = {**image(16, *layout.latent[1:]), "clip_vision_output": clip_vision(514)}
    check(bench, monkeypatch, model, dataclasses.replace(layout, conditions=images), way)


@each(*basics("Wan 2.2 5B"), *odd_sizes("Wan 2.2 5B"), *windows("Wan 2.2 5B"))
def test_48_channels(bench, monkeypatch, layout, way):
    layout = dataclasses.replace(layout, latent=(48, *layout.latent[1:]))
    check(bench, monkeypatch, zoo.wan(in_dim=48, out_dim=48), layout, way)


FUN = "Wan Fun (control, inpainting)"


@each(
    *basics(FUN, conditions=image(32, 3, 8, 12)),
    *odd_sizes(FUN),
    *windows(FUN, before=24, conditions={**image(32, 5, 8, 12), **REFERENCE}, whole_video=True),
    covers(FUN, "references", Layout(SMALL, (3, 4, 6), before=24, conditions=REFERENCE)),
    covers(FUN, "references", Layout(SMALL, (3, 4, 6)), id="none given"),
    covers(
        FUN,
        "references",
        Layout((16, 2, 9, 13), (2, 5, 7), before=35, conditions=EVEN_REFERENCE),
        id="odd size",
    ),
)
def test_fun_control(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, zoo.wan(in_dim=52, in_dim_ref_conv=16), layout, way)


@pytest.mark.parametrize(
    "model",
    [
        {},
        zoo.I2V,
        {"kind": "CameraWanModel", "model_type": "camera_2.2", "in_dim": 36},
        {"kind": "VaceWanModel", "vace_layers": 1, "vace_in_dim": 96},
    ],
)
def test_a_reference_for_a_model_without_is_not_in_its_sequence(bench, monkeypatch, model):
    layout = small(conditions=REFERENCE, calls=2 + model.get("vace_layers", 0))
    check(bench, monkeypatch, zoo.wan(**model), layout)


PHANTOM = "Wan Phantom"


def appended(layout):
    """`layout` with two frames more, as references."""
    conditions = {"time_dim_concat": noise(1, 16, 2, *layout.latent[2:], seed=2)}
    conditions = {**layout.conditions, **conditions}
    return dataclasses.replace(layout, after=2 * math.prod(layout.grid[1:]), conditions=conditions)


@each(
    *basics(PHANTOM),
    *odd_sizes(PHANTOM),
    *windows(PHANTOM),
    covers(PHANTOM, "references", small()),
)
def test_phantom(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, zoo.wan(), appended(layout), way)


def test_a_reference_and_appended_frames(bench, monkeypatch):
    layout = appended(small(before=24, conditions=REFERENCE))
    check(bench, monkeypatch, zoo.wan(in_dim_ref_conv=16), layout)


BERNINI = "Wan with context latents (Bernini)"
WITH_CONTEXT = {"after": CONTEXT_TOKENS, "conditions": CONTEXT, "needs": "context_latents"}


@each(
    *basics(BERNINI, **WITH_CONTEXT),
    *odd_sizes(BERNINI, **WITH_CONTEXT),
    *windows(BERNINI, **WITH_CONTEXT),
    covers(BERNINI, "references", Layout(SMALL, (3, 4, 6), **WITH_CONTEXT)),
)
def test_context_latents(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, known(zoo.wan(), layout), layout, way)


def test_a_reference_and_context_latents(bench, monkeypatch):
    layout = Layout(SMALL, (3, 4, 6), before=24, **WITH_CONTEXT)
    layout = dataclasses.replace(layout, conditions={**REFERENCE, **CONTEXT})
    check(bench, monkeypatch, known(zoo.wan(in_dim_ref_conv=16), layout), layout)
