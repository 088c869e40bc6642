"""Kandinsky 5: text in blocks of its own, which attend like the video's."""

import dataclasses

from .. import zoo
from ..zoo import noise
from .basics import basics, each, odd_sizes, resized, windows
from .configured import configured
from .layout import Layout, check, check_dense, check_refused, covers, mismatch

KANDINSKY = {
    "in_text_dim": zoo.TEXT_WIDTH, "in_text_dim2": 32, "time_dim": 64, "model_dim": 128,
    "ff_dim": 128, "visual_embed_dim": 4 * 33, "num_text_blocks": 1, "num_visual_blocks": 2,
}  # fmt: skip
POOLED = {"pooled_output": noise(1, 32, seed=1)}
LAYOUT = Layout((16, 3, 8, 12), (3, 4, 6), text=(20, zoo.TEXT_WIDTH), conditions=POOLED)
FIRST_FRAME = {"time_dim_replace": noise(1, 16, 1, 8, 12, seed=2)}
FAMILY = "Kandinsky 5"


def kandinsky(kind="Kandinsky5", **changes):
    return configured(kind, image_model="kandinsky5", **KANDINSKY | changes)


@each(
    *basics(FAMILY, LAYOUT),
    *odd_sizes(FAMILY, LAYOUT, divided=False),
    *windows(FAMILY, LAYOUT),
)
def test_kandinsky(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, kandinsky(), layout, way)


def test_image_to_video(bench, monkeypatch):
    conditions = {**POOLED, **FIRST_FRAME}
    layout = dataclasses.replace(LAYOUT, conditions=conditions, given=1)
    check(bench, monkeypatch, kandinsky(), layout)


def test_it_cannot_do_latents_that_its_patches_do_not_divide(bench):
    odd = resized(LAYOUT, (2, 9, 13), (2, 5, 7))
    check_refused(bench, kandinsky(), odd, does=LAYOUT, match=mismatch(13, 14))


STILL = f"{FAMILY} Image"
STILL_LAYOUT = resized(LAYOUT, (16, 20), (1, 8, 10))


def kandinsky_image():
    return kandinsky("Kandinsky5Image", visual_embed_dim=4 * 16)


@each(
    *basics(STILL, STILL_LAYOUT),
    covers(STILL, "odd sizes", resized(LAYOUT, (2, 150), (1, 1, 75)), id=f"{STILL}, 1 x N"),
)
def test_kandinsky_image(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, kandinsky_image(), layout, way)


def test_nor_do_images(bench):
    odd = resized(LAYOUT, (17, 23), (1, 9, 12))
    check_refused(bench, kandinsky_image(), odd, does=STILL_LAYOUT, match=mismatch(23, 24))


def test_text_as_long_as_the_video_stays_dense(bench):
    layout = dataclasses.replace(LAYOUT, text=(72, zoo.TEXT_WIDTH))
    check_dense(bench, kandinsky(), layout, ["video and text have the same length"])
