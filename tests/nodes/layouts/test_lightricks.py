"""LTX-Video and LTX-2: guide frames behind the video, audio in a stream of its own."""

import dataclasses

import pytest
import torch

from .. import zoo
from ..sampling import sparse_config
from ..zoo import noise
from .configured import configured
from .layout_check import WAYS, Case, check, check_results, sample

TEXT_WIDTH = 64
LTXV = {
    "in_channels": 128, "cross_attention_dim": 128, "attention_head_dim": 64,
    "num_attention_heads": 2, "caption_channels": TEXT_WIDTH, "num_layers": 2,
}  # fmt: skip
LTXAV = {
    **LTXV, "audio_in_channels": 128, "audio_cross_attention_dim": 128,
    "audio_attention_head_dim": 32, "audio_num_attention_heads": 4,
    "connector_attention_head_dim": 32, "connector_num_attention_heads": 2,
}  # fmt: skip
AV_TEXT_WIDTH = 2 * TEXT_WIDTH  # finished text: of both streams

# LTX-Video's text is filled up to one length, with a mask for cross-attention to it.
FILLED = {"attention_mask": torch.tensor([[1] * 15 + [0] * 5])}
VIDEO = Case((128, 3, 4, 6), (3, 4, 6), patch=(1, 1, 1), conditions=FILLED)
WITH_AUDIO = dataclasses.replace(VIDEO, audio=(8, 10, 16), conditions={})
CASES = {
    "video": VIDEO,
    "odd size": Case((128, 2, 5, 7), (2, 5, 7), patch=(1, 1, 1), conditions=FILLED),
    "one frame": Case((128, 1, 9, 10), (1, 9, 10), patch=(1, 1, 1), conditions=FILLED),
    "one column": Case((128, 4, 20, 1), (4, 20, 1), patch=(1, 1, 1), conditions=FILLED),
}


@pytest.fixture
def bench(comfy_inproc, one_thread):
    comfy_inproc.load_pack()  # and so ComfyUI's own nodes, in the order they can be loaded in
    return zoo.ZooBench()


def ltxv(**changes):
    return configured("LTXV", image_model="ltxv", **LTXV | changes)


def ltxav(**changes):
    return configured("LTXAV", image_model="ltxav", **LTXAV | changes)


def guided(case, frames, **options):
    """`case` with guide frames as ComfyUI's own node adds them, and the latent's noise mask."""
    from comfy_extras.nodes_lt import LTXVAddGuide

    channels, *size = case.latent
    guide = noise(1, channels, frames, *size[1:], seed=7)
    guide_mask = None
    if (scale := options.get("latent_downscale_factor")) is not None:
        guide, guide_mask = LTXVAddGuide.dilate_latent(
            guide[..., ::scale, ::scale].contiguous(), scale
        )
        options["guide_mask"] = guide_mask
    text = [[torch.zeros(1), {}]]
    positive, _, latent, mask = LTXVAddGuide.append_keyframe(
        text, text, 8, torch.zeros(1, *case.latent), torch.ones(1, 1, size[0], 1, 1), guide, 1.0,
        (8, 32, 32), **options,
    )  # fmt: skip
    more = {"keyframe_idxs": positive[0][1]["keyframe_idxs"]}
    after = frames * size[1] * size[2] if guide_mask is None else int((guide_mask > 0).sum())
    case = dataclasses.replace(
        case, latent=tuple(latent.shape[1:]), after=after, conditions={**case.conditions, **more}
    )
    return case, mask


@pytest.mark.parametrize("name", CASES)
def test_ltxv(bench, monkeypatch, name):
    check(bench, monkeypatch, ltxv(), CASES[name], TEXT_WIDTH, blocks=2)
    assert set(bench.report["calls"]["dense"]) == {"cross-attention"}


@pytest.mark.parametrize("way", [way for way in WAYS if "lengths" not in way])
def test_ltxv_however_it_is_called(bench, monkeypatch, way):
    check_results(bench, monkeypatch, ltxv(), VIDEO, TEXT_WIDTH, blocks=2, **WAYS[way])


@pytest.mark.parametrize("frames", [1, 2])
def test_guide_frames_follow_the_video(bench, monkeypatch, frames):
    case, mask = guided(VIDEO, frames)
    check(bench, monkeypatch, ltxv(), case, TEXT_WIDTH, blocks=2, noise_mask=mask)


def test_small_guides_lie_in_a_frame_with_holes(bench, monkeypatch):
    model = dropping()
    case, mask = guided(VIDEO, 2, latent_downscale_factor=2)
    assert case.after == 2 * 2 * 3
    check(bench, monkeypatch, model, case, TEXT_WIDTH, blocks=2, noise_mask=mask)


def test_holes_in_the_video_itself_stay_dense(bench):
    model = dropping()
    case, mask = guided(VIDEO, 1)
    mask = mask.expand(-1, -1, -1, 4, 6).clone()
    mask[..., 0, 1, 1] = -1
    plain = sample(bench, model, case, TEXT_WIDTH, noise_mask=mask)
    patched = bench.patch(sparse_config(), model=model)
    assert torch.equal(sample(bench, patched, case, TEXT_WIDTH, noise_mask=mask), plain)
    assert bench.report["calls"] == {
        "sparse": 0, "dense": {"unknown token layout": 4, "cross-attention": 4}
    }  # fmt: skip


def test_guides_of_less_strength_come_with_a_mask_and_stay_dense(bench):
    model = dropping()
    case, mask = guided(VIDEO, 1)
    entry = {"pre_filter_count": 24, "strength": 0.5, "pixel_mask": None, "latent_shape": [1, 4, 6]}
    conditions = {**case.conditions, "guide_attention_entries": [entry]}
    case = dataclasses.replace(case, conditions=conditions)
    plain = sample(bench, model, case, TEXT_WIDTH, noise_mask=mask)
    patched = bench.patch(sparse_config(), model=model)
    assert torch.equal(sample(bench, patched, case, TEXT_WIDTH, noise_mask=mask), plain)
    # two blocks, two steps; the video's queries and the guide's apart
    assert bench.report["calls"] == {
        "sparse": 0, "dense": {"masked attention": 8, "cross-attention": 4}
    }  # fmt: skip


def dropping():
    """A model that can leave tokens out."""
    model = ltxv()
    if not zoo.takes(model, "grid_mask"):
        pytest.skip("this ComfyUI's LTX-Video leaves no tokens out")
    return model


@pytest.mark.parametrize("name", ["video", "guides", "no audio"])
def test_ltx2(bench, monkeypatch, name):
    model = ltxav()
    case, options = WITH_AUDIO, {}
    if name == "guides":
        case, mask = guided(WITH_AUDIO, 1)
        import comfy.nested_tensor

        both = [mask, torch.ones(1, 1, *case.audio[1:])]
        options["noise_mask"] = comfy.nested_tensor.NestedTensor(both)
    elif name == "no audio":
        case = VIDEO
    check(bench, monkeypatch, model, case, AV_TEXT_WIDTH, blocks=2, **options)
    dense = bench.report["calls"]["dense"]
    # the audio's self-attention is square too
    assert dense.get("not the video's tokens", 0) == (4 if case.audio else 0)
    assert set(dense) <= {"cross-attention", "not the video's tokens"}


@pytest.mark.parametrize("way", WAYS)
def test_ltx2_however_it_is_called(bench, monkeypatch, way):
    model = ltxav()
    check_results(bench, monkeypatch, model, WITH_AUDIO, AV_TEXT_WIDTH, blocks=2, **WAYS[way])


def test_audio_or_text_as_long_as_the_video_stays_dense(bench):
    model = ltxav()
    as_long = dataclasses.replace(VIDEO, audio=(8, 72, 16))
    sample(bench, bench.patch(model=model), as_long, AV_TEXT_WIDTH)
    assert bench.report["calls"]["sparse"] == 0
    assert set(bench.report["calls"]["dense"]) == {
        "video and text have the same length", "cross-attention"
    }  # fmt: skip
    as_long = dataclasses.replace(WITH_AUDIO, text=72)
    sample(bench, bench.patch(model=model), as_long, AV_TEXT_WIDTH)
    assert bench.report["calls"]["sparse"] == 0
