"""PSA Calibrate samples from what KSampler samples from, whatever the latent carries."""

import inspect

import pytest
import torch

from psa_pack.nodes.preset_value import PresetValue

from ..sampling import sparse_config

SHAPE = (2, 16, 3, 16, 16)


def latents():
    import comfy.nested_tensor

    drawn = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 3, 16, 16)
    mask[..., 4:] = 1.0
    packed = comfy.nested_tensor.NestedTensor([drawn, drawn[:, :8, 0, 0]])
    return {
        "plain": {"samples": torch.zeros(SHAPE)},
        "few channels": {"samples": torch.zeros(2, 4, 3, 16, 16)},
        "mask": {"samples": drawn, "noise_mask": mask},
        "batch index": {"samples": drawn, "batch_index": [3, 1]},
        "ratios": {"samples": torch.zeros(2, 16, 6, 32, 32), "downscale_ratio_spacial": 4,
                   "downscale_ratio_temporal": 2},
        "nested": {"samples": packed},
    }  # fmt: skip


class _Stop(Exception):  # noqa: N818
    pass


@pytest.fixture
def sampled(bench, monkeypatch, tmp_path):
    """(of KSampler, of PSA Calibrate): what reaches ComfyUI's sampling from one latent."""
    import comfy.sample

    import nodes as comfy_nodes
    from psa_pack.nodes import calibrate

    signature = inspect.signature(comfy.sample.sample)
    seen = []

    def stop(*args, **kwargs):
        seen.append(signature.bind(*args, **kwargs).arguments)
        raise _Stop

    monkeypatch.setattr(comfy.sample, "sample", stop)
    monkeypatch.setattr(calibrate, "user_folder", lambda: tmp_path)
    text = [[torch.randn(1, 16, 4096), {}]]
    base = PresetValue(sparse_config(), name="base")

    def both(latent):
        common = {
            "seed": 5, "steps": 4, "cfg": 6.0, "sampler_name": "euler", "scheduler": "simple",
            "positive": text, "negative": text,
        }  # fmt: skip
        with pytest.raises(_Stop):
            comfy_nodes.common_ksampler(bench.model, latent=dict(latent), **common)
        with pytest.raises(_Stop):
            calibrate.PSACalibrate.execute(
                model=bench.model, latent_image=dict(latent), preset=base, **common
            )
        return seen[-2:]

    return both


def tensors(value):
    return list(value.unbind()) if value.is_nested else [value]


NAMES = ("plain", "few channels", "mask", "batch index", "ratios", "nested")


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_as_ksampler_does(sampled, name):
    ours, theirs = sampled(latents()[name])
    for what in ("noise", "latent_image"):
        one, other = tensors(ours[what]), tensors(theirs[what])
        assert len(one) == len(other) == (2 if name == "nested" else 1)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)), what
    one, other = ours["noise_mask"], theirs["noise_mask"]
    assert (one is None) == (other is None) == (name != "mask")
    assert one is None or torch.equal(one, other)
    same = ("seed", "steps", "cfg", "sampler_name", "scheduler", "positive", "negative")
    assert all(ours[what] is theirs[what] or ours[what] == theirs[what] for what in same)


def test_a_mask_and_indices_make_another_calibration(bench):
    from psa_pack.nodes.calibration.start import Start

    drawn = torch.ones(SHAPE)
    given = [
        {}, {"noise_mask": torch.zeros(1, 1, 16, 16)}, {"noise_mask": torch.ones(1, 1, 16, 16)},
        {"batch_index": [1, 12]}, {"batch_index": [11, 2]},
    ]  # fmt: skip
    found = [
        tuple(Start.of(bench.model, {"samples": drawn, **more}).identity().items())
        for more in given
    ]
    assert len(set(found)) == len(given)
    assert found[0] == tuple(Start.of(bench.model, {"samples": drawn + 0}).identity().items())
