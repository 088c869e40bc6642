"""LTX-Video and LTX-2: guide frames behind the video, audio in a stream of its own."""

import dataclasses

import pytest
import torch

from .. import zoo
from ..zoo import noise
from .basics import basics, each, named, windows
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
    "one frame": ((128, 1, 9, 10), (1, 9, 10)),
    "1 x N": ((128, 4, 20, 1), (4, 20, 1)),
}


def layout(family, latent, grid, **settings):
    usual = {"text": (20, zoo.TEXT_WIDTH), "conditions": FILLED}
    if family == BOTH:
        # Text comes finished: that of both streams side by side.
        usual = {"text": (20, 2 * zoo.TEXT_WIDTH), "audio": (8, 10, 16)}
        # the audio's self-attention is square too
        usual["dense"] = ("cross-attention", "not the video's tokens")
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


def cases(family):
    odd = {name: layout(family, *size) for name, size in ODD.items()}
    # texts of several lengths have one mask
    split = layout(family, *SMALL, **({"conditions": ALL} if family == VIDEO else {}))
    return [
        *basics(family, split),
        *named(family, "odd sizes", odd),
        *windows(family, layout(family, *SMALL)),
    ]


SILENT = layout(BOTH, *SMALL, audio=(), conditions=ALL, dense=("cross-attention",))


@pytest.mark.filterwarnings("ignore::UserWarning")  # ComfyUI indexes with a list
@each(*cases(VIDEO), *cases(BOTH), covers(BOTH, "sparse & exact", SILENT, id="LTX-2, no audio"))
def test_ltx(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(layout.family), layout, way)


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=pytest.mark.covers(f, "references")) for f in (VIDEO, BOTH)]
)
def test_guide_frames_follow_the_video(bench, monkeypatch, family):
    check(bench, monkeypatch, model_of(family), guided(layout(family, *SMALL), 2))


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


def of_strength(strength, layout):
    entry = {"pre_filter_count": 24, "pixel_mask": None, "latent_shape": [1, 4, 6]}
    entries = {"guide_attention_entries": [{**entry, "strength": strength}]}
    return dataclasses.replace(layout, conditions={**layout.conditions, **entries})


def test_guides_of_less_strength_come_with_a_mask_and_stay_dense(bench):
    model = dropping()
    weak = of_strength(0.5, guided(layout(VIDEO, *SMALL), 1))
    check_dense(bench, model, weak, {"masked attention", "cross-attention"})


def dropping():
    """A model that can leave tokens out."""
    model = model_of(VIDEO)
    if not zoo.takes(model, "grid_mask"):
        pytest.skip("this ComfyUI's LTX-Video leaves no tokens out")
    return model


@pytest.mark.covers(BOTH, "context windows")
def test_windows_with_a_guide(bench, monkeypatch):
    """The third of the latent's five frames is in both windows, and so is a guide for it.

    ComfyUI's LTX-Video cannot do that: it does not cut the guides' places into windows.
    """
    long = of_strength(1.0, guided(layout(BOTH, (128, 5, 4, 6), (3, 4, 6)), 1, at=16))
    check(bench, monkeypatch, model_of(BOTH), long, Way(window=3))


@pytest.mark.parametrize("as_long", [{"audio": (8, 72, 16)}, {"text": (72, 2 * zoo.TEXT_WIDTH)}])
def test_audio_or_text_as_long_as_the_video_stays_dense(bench, as_long):
    alike = layout(BOTH, *SMALL, **as_long)
    reasons = {"video and text have the same length", "cross-attention"}
    if "text" in as_long:
        reasons.add("not the video's tokens")  # the audio's
    check_dense(bench, model_of(BOTH), alike, reasons)
