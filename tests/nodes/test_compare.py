"""The figures and pictures of PSA Compare, against piq, by hand and at the edges."""

import gc
import json
import math

import piq
import pytest
import torch

from .moving_clip import moving


@pytest.fixture(autouse=True)
def _comfyui(comfy_inproc):
    """nodes/ is importable."""


def compare(reference, other, gain=4.0):
    from psa_pack.nodes.comparing import comparison

    lengths = len(reference), len(other)
    reference, other, notes = comparison.common(reference, other)
    return comparison.compare(reference, other, gain, lengths=lengths, notes=notes)


def channels_first(clip):
    return clip.movedim(-1, 1)


@pytest.mark.parametrize("size", [(64, 96), (11, 11), (75, 40), (720, 64)], ids=str)
def test_ssim_is_piqs_at_full_resolution(size):
    torch.manual_seed(1)
    reference = torch.rand(5, *size, 3)
    other = (reference + 0.1 * torch.randn_like(reference)).clamp(0, 1)
    found = compare(reference, other).ssim
    wanted = piq.ssim(channels_first(other), channels_first(reference), data_range=1.0,
                      downsample=False, reduction="none")  # fmt: skip
    assert found.frames == pytest.approx(wanted.tolist(), abs=1e-5)
    assert found.whole == pytest.approx(wanted.mean().item(), abs=1e-5)


def test_ssim_of_smooth_and_dark_pictures_is_piqs_too():
    """Where nearly nothing varies, the difference of two like numbers has to hold."""
    for level in (0.0, 0.02, 0.5, 1.0):
        reference = torch.full((2, 40, 40, 3), level)
        other = (reference + 0.01 * torch.rand(2, 40, 40, 3)).clamp(0, 1)
        wanted = piq.ssim(channels_first(other), channels_first(reference), downsample=False)
        assert compare(reference, other).ssim.whole == pytest.approx(wanted.item(), abs=1e-5)


def test_psnr_by_hand():
    """A difference of .1 everywhere is a mean squared error of .01: 20 dB; of .5 in one frame of
    two .125 in the mean: 9.03 dB.
    """
    reference = torch.full((2, 16, 16, 3), 0.25)
    assert compare(reference, reference + 0.1).psnr.whole == pytest.approx(20, abs=1e-4)
    other = reference.clone()
    other[1] += 0.5
    found = compare(reference, other).psnr
    assert found.frames == (math.inf, pytest.approx(6.0206, abs=1e-4))
    assert found.whole == pytest.approx(-10 * math.log10(0.125), abs=1e-4)
    # one pixel of 256, one colour of three, off by 1
    other = torch.zeros(1, 16, 16, 3)
    other[0, 3, 4, 1] = 1
    wanted = 10 * math.log10(256 * 3)
    assert compare(torch.zeros(1, 16, 16, 3), other).psnr.whole == pytest.approx(wanted, abs=1e-4)


def test_the_temporal_difference_is_the_quality_benchs():
    from psa_pack.tools.clip_metrics import temporal_difference

    torch.manual_seed(3)
    reference, other = torch.rand(2, 9, 16, 24, 3)
    found = compare(reference, other).temporal
    wanted = temporal_difference(channels_first(reference), channels_first(other))
    assert found.whole == pytest.approx(wanted, rel=1e-5)
    assert len(found.frames) == 8
    # brighter all through is the same motion; a flicker in frame 5 shows there and after it
    dark = reference * 0.5
    assert compare(dark, dark + 0.2).temporal.whole == pytest.approx(0, abs=1e-6)
    flickering = dark.clone()
    flickering[4] += 0.3
    values = compare(dark, flickering).temporal.frames
    assert [i + 2 for i, x in enumerate(values) if x > 0.1] == [5, 6]


def test_identical_clips_are_said_to_be_so_in_text_and_json():
    clip = moving(frames=3)
    found = compare(clip, clip)
    assert found.psnr.whole == math.inf and found.ssim.whole == pytest.approx(1)
    assert "identical" in found.text() and "PSNR: inf dB" in found.text()
    assert "inf" in found.table()
    data = json.loads(json.dumps(found.json(), allow_nan=False))
    assert data["identical"] is True and data["psnr"]["whole"] is None
    assert data["psnr"]["frames"] == [None] * 3 and data["identical_frames"] == [1, 2, 3]
    assert data["temporal_difference"]["whole"] == 0 and data["largest_difference"] == 0
    # one frame alike is not the whole clip
    other = clip.clone()
    other[1] = 0
    data = compare(clip, other).json()
    assert data["identical"] is False and data["identical_frames"] == [1, 3]
    assert data["psnr"]["whole"] > 0 and data["psnr"]["frames"][1] > 0


def test_sizes_that_differ_are_named_and_lengths_are_cut():
    clip = moving(frames=5, height=32, width=48)
    with pytest.raises(ValueError, match=r"48 x 32 pixels.*48 x 40"):
        compare(clip, moving(frames=5, height=40, width=48))
    found = compare(clip, clip[:3])
    assert found.compared == 3 and found.lengths == (5, 3)
    assert "5 frames, other has 3; the first 3" in found.text()
    assert found.json()["frames"] == {"reference": 5, "other": 3, "compared": 3}


def test_what_cannot_be_computed_has_a_reason():
    one = moving(frames=1, height=8, width=8)
    found = compare(one, one * 0.5)
    assert found.ssim.whole is None and "11 pixels" in found.ssim.reason
    assert found.temporal.whole is None and "two frames" in found.temporal.reason
    assert "SSIM: not available" in found.text()
    still = torch.full((4, 16, 16, 3), 0.5)
    found = compare(still, moving(4, 16, 16))
    assert found.temporal.whole is None and "does not move" in found.temporal.reason
    assert found.json()["temporal_difference"]["frames"] == []


def test_pictures_with_transparency_without_colour_and_with_nan():
    clip = moving(frames=2)
    found = compare(torch.cat((clip, torch.ones(2, 64, 64, 1)), 3), clip)
    assert found.identical and "4 and 3 channels" in found.text()
    grey = compare(clip[..., :1], clip[..., :1] * 0.9)
    assert 20 < grey.psnr.whole < 40
    broken = clip.clone()
    broken[1, 0, 0, 0] = math.nan
    found = compare(clip, broken)
    assert "1 frame of other have values that are not finite" in found.text()
    data = json.loads(json.dumps(found.json(), allow_nan=False))
    assert data["psnr"]["whole"] is None and data["identical"] is False


def test_figures_do_not_depend_on_how_many_frames_are_taken_at_a_time(monkeypatch):
    from psa_pack.nodes.comparing import metrics

    torch.manual_seed(4)
    reference, other = torch.rand(2, 7, 20, 20, 3)
    at_once = compare(reference, other)
    for pixels in (1, 400 * 3):
        monkeypatch.setattr(metrics, "AT_ONCE", pixels)
        found = compare(reference, other)
        for name in ("psnr", "ssim", "temporal"):
            one, two = getattr(found, name), getattr(at_once, name)
            assert one.frames == pytest.approx(two.frames, rel=1e-6)


def test_long_clips_take_little_memory_beside_their_own():
    """By what torch allocates: a clip of 60 frames needs no more than one of 20."""
    from torch.profiler import ProfilerActivity, profile

    def most(frames):
        clip = torch.rand(frames, 128, 128, 3)
        gc.collect()  # what others left behind is not given back while this is measured
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            compare(clip, clip)
        now = peak = 0
        for event in profiler.profiler.kineto_results.events():
            if event.name() == "[memory]":
                now += event.nbytes()
                peak = max(peak, now)
        return peak

    from psa_pack.nodes.comparing import metrics

    before = metrics.AT_ONCE
    metrics.AT_ONCE = 128 * 128 * 4
    try:
        short, long = most(20), most(60)
    finally:
        metrics.AT_ONCE = before
    assert short > 0 and long < 1.2 * short


def test_the_difference_and_the_side_by_side_picture():
    from psa_pack.nodes.comparing.pictures import difference, side_by_side

    reference = torch.full((2, 5, 7, 3), 0.25)
    other = reference.clone()
    other[1, 2, 3] += torch.tensor([0.1, -0.1, 0.5])
    shown = difference(reference, other, 4.0)
    assert shown[0].max() == 0
    assert torch.allclose(shown[1, 2, 3], torch.tensor([0.4, 0.4, 1.0]))
    assert shown.sum() == pytest.approx(1.8, abs=1e-5)
    both = side_by_side(reference, other)
    assert both.shape == (2, 6, 16, 3)
    assert torch.equal(both[:, :5, :7], reference) and torch.equal(both[:, :5, 9:], other)
    assert both[:, 5].max() == 0 and both[:, :, 7:9].max() == 0


def test_lpips_is_never_downloaded(monkeypatch, tmp_path):
    import importlib.util

    from psa_pack.nodes.comparing import perceptual

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    if importlib.util.find_spec("lpips") is None:
        assert perceptual.unavailable() == "the package lpips is not installed"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    reason = perceptual.unavailable()
    assert "weights are not on this machine" in reason and str(tmp_path) in reason
    clip = moving(frames=2)
    found = compare(clip, clip * 0.9)
    assert found.lpips.whole is None and f"LPIPS: not available ({reason})" in found.text()
    assert found.json()["lpips"] == {"whole": None, "reason": reason, "frames": []}


def test_a_broken_lpips_costs_nothing_else(monkeypatch):
    from psa_pack.nodes.comparing import perceptual

    def load(device):
        raise RuntimeError("no good")

    monkeypatch.setattr(perceptual, "unavailable", lambda: None)
    monkeypatch.setattr(perceptual, "load", load)
    clip = moving(frames=2)
    found = compare(clip, clip * 0.9)
    assert "cannot be loaded: no good" in found.lpips.reason and found.ssim.whole > 0.5


def test_lpips_is_the_packages_own(monkeypatch, tmp_path):
    """With random weights of AlexNet in the place where torchvision keeps them."""
    lpips = pytest.importorskip("lpips")
    from torchvision.models import AlexNet_Weights, alexnet

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(5)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(alexnet().state_dict(), folder / AlexNet_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1])
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    reference, other = torch.rand(2, 3, 64, 64, 3)
    found = compare(reference, other).lpips
    net = lpips.LPIPS(net="alex", verbose=False)
    wanted = net(channels_first(reference), channels_first(other), normalize=True).flatten()
    assert found.frames == pytest.approx(wanted.tolist(), rel=1e-5) and found.whole > 0
