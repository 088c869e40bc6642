"""Wan 2.1 and 2.2 and what is built on them: where the video's tokens are in each."""

import dataclasses
import math

import pytest
import torch

from .. import zoo
from ..zoo import clip_vision, noise
from . import basics as common
from .basics import changed, each, named
from .layout import Layout, check, covers

SMALL = (16, 3, 8, 12)


def image(channels, frames, height, width):
    return {
        "concat_latent_image": noise(1, channels, frames, height, width, seed=5),
        "concat_mask": torch.zeros(1, 1, frames, height, width),
    }


def small(**settings):
    return Layout(SMALL, (3, 4, 6), **settings)


def videos(family, references=False, **settings):
    return common.videos(family, small(**settings), references=references)


def basics(family, **settings):
    return common.basics(family, small(**settings))


def odd_sizes(family, divided=True, **settings):
    return common.odd_sizes(family, small(**settings), divided)


def windows(family, id=None, **settings):
    return common.windows(family, small(**settings), id)


def beside(layout, conditions):
    return dataclasses.replace(layout, conditions={**layout.conditions, **conditions})


T2V = "Wan 2.1, 2.2 text to video"
I2V = "Wan 2.1, 2.2 image to video"
FLF = "Wan 2.1 first and last frame"
TI2V = "Wan 2.2 5B"
FUN = "Wan Fun (control, inpainting)"
PHANTOM = "Wan Phantom"
BERNINI = "Wan with context latents (Bernini)"
MODELS = {
    T2V: {},
    I2V: zoo.I2V,
    FLF: {**zoo.I2V, "flf_pos_embed_token_number": 514},
    TI2V: {"in_dim": 48, "out_dim": 48},
    FUN: {"in_dim": 52, "in_dim_ref_conv": 16},
    PHANTOM: {},
    BERNINI: {},
}
REFERENCE = {"reference_latents": [noise(1, 16, 1, 8, 12, seed=1)]}
# cut without padding: 10 x 14 gives the 5 x 7 tokens that a padded 9 x 13 has
ODD_REFERENCE = Layout(
    (16, 2, 9, 13), (2, 5, 7), before=35,
    conditions={"reference_latents": [noise(1, 16, 1, 10, 14, seed=1)]},
)  # fmt: skip
CONTEXT = {"context_latents": [noise(1, 16, 1, 8, 12, seed=3), noise(1, 16, 2, 5, 7, seed=4)]}
CONTEXT_TOKENS = 4 * 6 + 2 * 3 * 4
WITH_CONTEXT = {"after": CONTEXT_TOKENS, "conditions": CONTEXT, "needs": "context_latents"}
SEEN = {"clip_vision_output": clip_vision()}


def first_and_last(layout):
    images = {**image(16, *layout.latent[1:]), "clip_vision_output": clip_vision(514)}
    return beside(layout, images)


def of_48_channels(layout):
    return dataclasses.replace(layout, latent=(48, *layout.latent[1:]))


def appended(layout):
    """`layout` with two frames more, as references."""
    frames = {"time_dim_concat": noise(1, 16, 2, *layout.latent[2:], seed=2)}
    after = 2 * math.prod(layout.grid[1:])
    return dataclasses.replace(beside(layout, frames), after=after)


# what the other families have together, in one row of one frame
FEW = {
    "one frame": Layout((16, 1, 16, 20), (1, 8, 10)),
    "1 x N": Layout((16, 5, 2, 30), (5, 1, 15)),
}


@each(
    *videos(T2V), *named(T2V, "odd sizes", FEW),
    *basics(I2V, conditions={**image(16, 3, 8, 12), **SEEN}),
    *odd_sizes(I2V, conditions=SEEN),
    *windows(I2V, conditions={**image(16, 5, 8, 12), **SEEN}, whole_video=True),
    *changed(videos(FLF, whole_video=True), first_and_last),
    *changed(videos(TI2V), of_48_channels),
    *basics(FUN, conditions=image(32, 3, 8, 12)), *odd_sizes(FUN),
    *windows(FUN, before=24, conditions={**image(32, 5, 8, 12), **REFERENCE}, whole_video=True),
    covers(FUN, "references", small(before=24, conditions=REFERENCE)),
    covers(FUN, "references", ODD_REFERENCE, id="Fun, odd size"),
    *changed(videos(PHANTOM, references=True), appended),
    *videos(BERNINI, references=True, **WITH_CONTEXT),
)  # fmt: skip
def test_wan(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, known(zoo.wan(**MODELS[layout.family]), layout), layout, way)


def known(model, layout):
    if layout.needs and not zoo.takes(model, layout.needs):
        pytest.skip(f"this ComfyUI's Wan has no {layout.needs}")
    return model


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


def test_a_reference_and_appended_frames(bench, monkeypatch):
    layout = appended(small(before=24, conditions=REFERENCE))
    check(bench, monkeypatch, zoo.wan(in_dim_ref_conv=16), layout)


def test_a_reference_and_context_latents(bench, monkeypatch):
    layout = beside(small(before=24, **WITH_CONTEXT), REFERENCE)
    check(bench, monkeypatch, known(zoo.wan(in_dim_ref_conv=16), layout), layout)
