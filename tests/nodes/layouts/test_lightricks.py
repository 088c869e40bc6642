"""LTX-Video and LTX-2: guide frames behind the video, audio in a stream of its own."""

import dataclasses

import pytest
import torch

from .. import zoo
from ..zoo import noise
from .configured import configured
from .layout import Layout, Way, check, check_dense, covers

LTXV = {
    "in_channels": 128, "cross_attention_dim": 128, "attention_head_dim": 64,
    "num_attention_heads": 2, "caption_channels": zoo.TEXT_WIDTH, "num_layers": 2,
}  # fmt: skip
LTXAV = {
    **LTXV, "audio_in_channels": 128, "audio_cross_attention_dim": 128,
    "audio_attention_head_dim": 32, "audio_num_attention_heads": 4,
    "connector_attention_head_dim": 32, "connector_num_attention_heads": 2,
}  # fmt: skip
# LTX-Video's text is filled up to one length, with a mask for cross-attention to it.
FILLED = {"attention_mask": torch.tensor([[1] * 15 + [0] * 5])}
ALL = {"attention_mask": torch.tensor([[1]])}  # fits text of any length
VIDEO, BOTH = "LTX-Video", "LTX-2"
SMALL = (128, 3, 4, 6), (3, 4, 6)
ODD = {
    "odd": ((128, 2, 5, 7), (2, 5, 7)),
    "one frame": ((128, 1, 9, 10), (1, 9, 10)),
    "1 x N": ((128, 4, 20, 1), (4, 20, 1)),
}


def layout(family, latent, grid, **settings):
    usual = {"text": (20, zoo.TEXT_WIDTH), "conditions": FILLED}
    if family == BOTH:
        # Text comes finished: that of both streams side by side.
        usual = {"text": (20, 2 * zoo.TEXT_WIDTH), "audio": (8, 10, 16)}
    return Layout(latent, grid, patch=(1, 1, 1), **usual | settings)


def model_of(family):
    if family == BOTH:
        return configured("LTXAV", image_model="ltxav", **LTXAV)
    return configured("LTXV", image_model="ltxv", **LTXV)


def guided(layout, frames, at=8, **options):
    """`layout` with guide frames for the video's frame `at` on, as ComfyUI's own node adds them."""
    from comfy_extras.nodes_lt import LTXVAddGuide

    channels, *size = layout.latent
    guide = noise(1, channels, frames, *size[1:], seed=7)
    after = guide[0, 0].numel()
    if (scale := options.get("latent_downscale_factor")) is not None:
        small = guide[..., ::scale, ::scale].contiguous()
        after = small[0, 0].numel()
        guide, options["guide_mask"] = LTXVAddGuide.dilate_latent(small, scale)
    text = [[torch.zeros(1), {}]]
    positive, _, latent, mask = LTXVAddGuide.append_keyframe(
        text, text, at, torch.zeros(1, *layout.latent), torch.ones(1, 1, size[0], 1, 1), guide, 1.0,
        (8, 32, 32), **options,
    )  # fmt: skip
    if layout.audio:
        import comfy.nested_tensor

        mask = comfy.nested_tensor.NestedTensor([mask, torch.ones(1, 1, *layout.audio[1:])])
    return dataclasses.replace(
        layout,
        latent=tuple(latent.shape[1:]),
        after=after,
        behind=frames,
        conditions={**layout.conditions, "keyframe_idxs": positive[0][1]["keyframe_idxs"]},
        options={"noise_mask": mask},
    )


def case(family, feature, size=SMALL, id=None, **settings):
    return covers(family, feature, (family, layout(family, *size, **settings)), id=id)


@pytest.mark.parametrize(
    ("case", "way"),
    [
        *(case(f, "sparse & exact") for f in (VIDEO, BOTH)),
        *(case(f, "odd sizes", ODD[n], f"{f}, {n}") for f in (VIDEO, BOTH) for n in ODD),
        *(case(f, "batch 3") for f in (VIDEO, BOTH)),
        case(VIDEO, "CFG split", conditions=ALL),
        case(BOTH, "CFG split"),
        case(BOTH, "sparse & exact", id="LTX-2, no audio", audio=(), conditions=ALL),
    ],
)
def test_ltx(bench, monkeypatch, case, way):
    family, layout = case
    check(bench, monkeypatch, model_of(family), layout, way)
    # the audio's self-attention is square too
    audio = {"not the video's tokens"} if layout.audio else set()
    assert set(bench.report["calls"]["dense"]) == {"cross-attention"} | audio


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=pytest.mark.covers(f, "references")) for f in (VIDEO, BOTH)]
)
def test_guide_frames_follow_the_video(bench, monkeypatch, family, frames):
    model = model_of(family)
    check(bench, monkeypatch, model, guided(layout(family, *SMALL), frames))


@pytest.mark.covers(VIDEO, "references")
def test_small_guides_lie_in_a_frame_with_holes(bench, monkeypatch):
    model = dropping()
    small = guided(layout(VIDEO, *SMALL), 2, latent_downscale_factor=2)
    assert small.after == 2 * 2 * 3
    check(bench, monkeypatch, model, small)


def test_holes_in_the_video_itself_stay_dense(bench):
    model = dropping()
    with_holes = guided(layout(VIDEO, *SMALL), 1)
    mask = with_holes.options["noise_mask"].expand(-1, -1, -1, 4, 6).clone()
    mask[..., 0, 1, 1] = -1
    with_holes = dataclasses.replace(with_holes, options={"noise_mask": mask})
    check_dense(bench, model, with_holes, {"unknown token layout", "cross-attention"})


def test_guides_of_less_strength_come_with_a_mask_and_stay_dense(bench):
    model = dropping()
    weak = guided(layout(VIDEO, *SMALL), 1)
    entry = {"pre_filter_count": 24, "strength": 0.5, "pixel_mask": None, "latent_shape": [1, 4, 6]}
    conditions = {**weak.conditions, "guide_attention_entries": [entry]}
    weak = dataclasses.replace(weak, conditions=conditions)
    check_dense(bench, model, weak, {"masked attention", "cross-attention"})


def dropping():
    """A model that can leave tokens out."""
    model = model_of(VIDEO)
    if not zoo.takes(model, "grid_mask"):
        pytest.skip("this ComfyUI's LTX-Video leaves no tokens out")
    return model


@pytest.mark.filterwarnings("ignore::UserWarning")  # ComfyUI indexes with a list
@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=pytest.mark.covers(f, "context windows")) for f in (VIDEO, BOTH)],
)
def test_windows(bench, monkeypatch, family):
    model = model_of(family)
    check(bench, monkeypatch, model, layout(family, (128, 5, 4, 6), (3, 4, 6)), Way(window=3))


@pytest.mark.covers(BOTH, "context windows")
def test_windows_with_a_guide(bench, monkeypatch):
    """Of five frames of the latent the third is in both windows, and so is a guide for it.

    ComfyUI's LTX-Video cannot do that: it does not cut the guides' places into windows.
    """
    long = guided(layout(BOTH, (128, 5, 4, 6), (3, 4, 6)), 1, at=16)
    entry = {"pre_filter_count": 24, "strength": 1.0, "pixel_mask": None, "latent_shape": [1, 4, 6]}
    conditions = {**long.conditions, "guide_attention_entries": [entry]}
    long = dataclasses.replace(long, conditions=conditions)
    check(bench, monkeypatch, model_of(BOTH), long, Way(window=3))


@pytest.mark.parametrize("as_long", [{"audio": (8, 72, 16)}, {"text": (72, 2 * zoo.TEXT_WIDTH)}])
def test_audio_or_text_as_long_as_the_video_stays_dense(bench, as_long):
    alike = layout(BOTH, *SMALL, **as_long)
    reasons = {"video and text have the same length", "cross-attention"}
    if "text" in as_long:
        reasons.add("not the video's tokens")  # the audio's
    check_dense(bench, model_of(BOTH), alike, reasons)
