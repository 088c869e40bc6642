"""Kandinsky 5: text in blocks of its own, which attend like the video's."""

import dataclasses

import pytest

from .. import zoo
from ..zoo import noise
from .basics import basics, each, resized, videos
from .configured import configured
from .layout import Layout, check, check_dense, check_refused, covers, mismatch

KANDINSKY = {
    "in_text_dim": zoo.TEXT_WIDTH, "in_text_dim2": 32, "time_dim": 64, "model_dim": 128,
    "ff_dim": 128, "visual_embed_dim": 4 * 33, "num_text_blocks": 1, "num_visual_blocks": 2,
}  # fmt: skip
POOLED = {"pooled_output": noise(1, 32, seed=1)}
LAYOUT = Layout(
    (16, 3, 8, 12), (3, 4, 6), text=(20, zoo.TEXT_WIDTH), conditions=POOLED,
    dense=("cross-attention", "not the video's tokens"),
)  # fmt: skip
FIRST_FRAME = {"time_dim_replace": noise(1, 16, 1, 8, 12, seed=2)}
VIDEO, STILL = "Kandinsky 5", "Kandinsky 5 Image"
STILL_LAYOUT = resized(LAYOUT, (16, 20), (1, 8, 10))


def kandinsky(family):
    if family == VIDEO:
        return configured("Kandinsky5", image_model="kandinsky5", **KANDINSKY)
    settings = KANDINSKY | {"visual_embed_dim": 4 * 16}
    return configured("Kandinsky5Image", image_model="kandinsky5", **settings)


@each(
    *videos(VIDEO, LAYOUT, divided=False),
    *basics(STILL, STILL_LAYOUT),
    covers(STILL, "odd sizes", resized(LAYOUT, (2, 150), (1, 1, 75))),
)
def test_kandinsky(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, kandinsky(layout.family), layout, way)


def test_image_to_video(bench, monkeypatch):
    conditions = {**POOLED, **FIRST_FRAME}
    layout = dataclasses.replace(LAYOUT, conditions=conditions, given=1)
    check(bench, monkeypatch, kandinsky(VIDEO), layout)


@pytest.mark.parametrize(
    ("family", "does", "size", "sides"),
    [(VIDEO, LAYOUT, (2, 9, 13), (13, 14)), (STILL, STILL_LAYOUT, (17, 23), (23, 24))],
)
def test_it_cannot_do_latents_that_its_patches_do_not_divide(bench, family, does, size, sides):
    odd = resized(LAYOUT, size, None)
    check_refused(bench, kandinsky(family), odd, does=does, match=mismatch(*sides))


def test_text_as_long_as_the_video_stays_dense(bench):
    layout = dataclasses.replace(LAYOUT, text=(72, zoo.TEXT_WIDTH))
    check_dense(bench, kandinsky(VIDEO), layout, ["video and text have the same length"])
