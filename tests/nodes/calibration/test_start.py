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


TEXT = [[torch.ones(1, 16, 4096), {}]]
INPUTS = {
    "seed": 5, "steps": 4, "cfg": 6.0, "sampler_name": "euler", "scheduler": "simple",
    "positive": TEXT, "negative": TEXT,
}  # fmt: skip


@pytest.fixture
def seen(monkeypatch):
    """What reaches ComfyUI's sampling, which stops there."""
    import comfy.sample

    signature = inspect.signature(comfy.sample.sample)
    seen = []

    def stop(*args, **kwargs):
        seen.append(signature.bind(*args, **kwargs).arguments)
        raise _Stop

    monkeypatch.setattr(comfy.sample, "sample", stop)
    return seen


@pytest.fixture
def begin(bench, seen, monkeypatch, tmp_path):
    """begin(latent, **inputs): what PSA Calibrate samples with; its journals are in `tmp_path`."""
    from psa_pack.nodes import calibrate

    monkeypatch.setattr(calibrate, "user_folder", lambda: tmp_path)
    inputs = {"model": bench.model, "preset": PresetValue(sparse_config(), name="base"), **INPUTS}

    def run(latent, **more):
        with pytest.raises(_Stop):
            calibrate.PSACalibrate.execute(latent_image=dict(latent), **inputs | more)
        return seen[-1]

    return run


def tensors(value):
    return list(value.unbind()) if value.is_nested else [value]


NAMES = ("plain", "few channels", "mask", "batch index", "ratios", "nested")


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_as_ksampler_does(bench, seen, begin, name):
    import nodes as comfy_nodes

    ours = begin(latents()[name])
    with pytest.raises(_Stop):
        comfy_nodes.common_ksampler(bench.model, latent=latents()[name], **INPUTS)
    theirs = seen[-1]
    for what in ("noise", "latent_image"):
        one, other = tensors(ours[what]), tensors(theirs[what])
        assert len(one) == len(other) == (2 if name == "nested" else 1)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)), what
    one, other = ours["noise_mask"], theirs["noise_mask"]
    assert (one is None) == (other is None) == (name != "mask")
    assert one is None or torch.equal(one, other)
    same = ("seed", "steps", "cfg", "sampler_name", "scheduler", "positive", "negative")
    assert all(ours[what] is theirs[what] or ours[what] == theirs[what] for what in same)


def test_each_input_that_figures_depend_on_makes_another_calibration(begin, tmp_path):
    other = [[torch.zeros(1, 16, 4096), {}]]
    changes = [
        {}, {"seed": 6}, {"steps": 5}, {"cfg": 5.0}, {"sampler_name": "heun"},
        {"scheduler": "beta"}, {"positive": other}, {"negative": other}, {"measured_steps": 3},
        {"probed_steps": 0}, {"preset": PresetValue(sparse_config(tail="none"), name="base")},
    ]  # fmt: skip
    for change in changes:
        begin(latents()["plain"], **change)
    assert len(list(tmp_path.rglob("*.jsonl"))) == len(changes)
    # the target is none of them: it is met with the same measurements
    begin(latents()["plain"], target="error", error=0.2, allow_dense=False, dense_blocks="1")
    assert len(list(tmp_path.rglob("*.jsonl"))) == len(changes)


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
