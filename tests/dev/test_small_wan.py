"""The small model's words, codec, trainer and file.  What it became is judged elsewhere."""

import dataclasses
import hashlib
import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from psa_pack.tools import demo
from psa_pack.tools.small_wan import checkpoint, conditions, pool, render, scenes, shipping
from psa_pack.tools.small_wan import train as training
from psa_pack.tools.small_wan.codec import Codec, fit, frames_of
from psa_pack.tools.small_wan.train import LOG_FILE, MODEL_FILE, Settings

from .made_up_pictures import made_up_pictures

RED_STAR = "camera still, hills, red star resting"
SHIPPED = demo.EXAMPLE / demo.MODEL
# trains in seconds on a CPU
TOY = Settings(
    dim=128, layers=1, ffn=128, batch_tokens=128, warmup_steps=5, decay_from=0.5, curriculum="tiny"
)
HOURS = {"minutes": 600, "total_minutes": 600}  # steps alone decide, however slow the machine


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(checkpoint.CODEC)


@pytest.fixture(scope="module")
def pictures():
    return made_up_pictures()


# words


def test_words_are_those_that_the_model_was_trained_with():
    """A word's vector goes by its number, so another order would change what prompts mean."""
    words = " ".join(conditions.VOCABULARY)
    assert hashlib.sha256(words.encode()).hexdigest()[:16] == "d0b2f4840d6fe24d"
    context = conditions.context("camera orbiting left, tiles room wood floor, astronaut bouncing")
    assert context[0, :3, :3].flatten().tolist() == pytest.approx(
        [0.88894, 0.29017, -0.49058, 0.23022, -0.15193, -0.98596, 0.87481, 0.12151, 0.49557],
        abs=1e-5,
    )  # fmt: skip


# codec


def test_codec_carries_clips_it_was_not_fitted_on(codec, pictures):
    drawn = scenes.draw(99, 8, frames=frames_of(3), height=64, width=96, assets=pictures)
    latent = pool.latents_of(drawn, pictures, codec)
    assert latent.shape == (8, 16, 3, 16, 24)
    back = codec.decode(latent)
    assert back.shape == (8, 3, 5, 64, 96)
    error = (back - render.render(drawn, pictures)).square().mean()
    assert -10 * error.log10() > 30  # dB


def test_codec_speaks_comfyuis_wan_latents(codec, comfy_inproc):
    from comfy.latent_formats import Wan21

    latent = torch.randn(1, 16, 2, 4, 4)
    saved = Wan21().process_out(latent)
    assert torch.allclose(codec.from_comfy(saved), latent, atol=1e-5)


def test_a_codec_is_fitted_to_the_pictures(pictures, tmp_path):
    fitted, record = fit(torch.zeros(16), torch.ones(16), pictures, count=8)
    assert record["clips"] == 8
    assert record["variance_kept"] > 0.95
    fitted.save(tmp_path / "codec.safetensors", record)
    again = Codec.load(tmp_path / "codec.safetensors")
    assert torch.equal(again.encoder, fitted.encoder)
    assert checkpoint.load_record(tmp_path / "codec.safetensors") == record
    # what it encodes it decodes, as far as 16 channels go
    assert torch.allclose(fitted.encoder @ fitted.decoder.T, torch.eye(16), atol=1e-4)


# trainer


@pytest.fixture(scope="module")
def train(comfy_inproc, codec, pictures):
    """train(settings, out, ...) -> whether the training is finished."""
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("training needs torch 2.9 or newer")

    def run(settings, out, **limits) -> bool:
        limits = {**HOURS, **limits}
        return training.train(
            settings, codec, pictures, comfy_inproc.path, out,
            device="cpu", compiled=False, **limits,
        )  # fmt: skip

    return run


def test_pieces_make_the_training_that_one_run_makes(train, tmp_path, monkeypatch):
    # the pool is not kept: here every step draws from what it rendered itself
    monkeypatch.setattr(pool, "POOLED_TOKENS", 1)
    monkeypatch.setattr(training, "LOG_EVERY", 1)
    # every look at the clock takes a second, so that a piece ends after two steps
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    settings = dataclasses.replace(TOY, reuse=1)
    assert train(settings, tmp_path / "whole", max_steps=7)
    finished = [train(settings, tmp_path / "parts", max_steps=7, minutes=0.1) for _ in range(4)]
    assert finished == [False, False, False, True]
    for name in (LOG_FILE, MODEL_FILE):
        whole, parts = (tmp_path / folder / name for folder in ("whole", "parts"))
        assert untimed(whole) == untimed(parts)
    with pytest.raises(ValueError, match="trained with other settings"):
        train(dataclasses.replace(settings, rate=1e-3), tmp_path / "parts", max_steps=9)


def untimed(file):
    """What a log or a model says, but for the time that it took."""
    if file.name == MODEL_FILE:
        record = {**checkpoint.load_record(file), "seconds": None}
        return record, {name: weight.tolist() for name, weight in load_file(file).items()}
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    return [(entry["step"], entry["rate"], entry["loss"]) for entry in entries]


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory):
    """A toy trained for a moment, in one piece."""
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "LOG_EVERY", 20)
        assert train(dataclasses.replace(TOY, ema=0.9), out, max_steps=80)
    return out


def test_training_lowers_the_loss_and_says_what_it_did(trained, comfy_inproc):
    log = [json.loads(line) for line in (trained / LOG_FILE).read_text().splitlines()]
    assert [entry["step"] for entry in log] == [20, 40, 60, 80]
    assert log[-1]["loss"] < 0.85 * log[0]["loss"]
    record = checkpoint.load_record(trained / MODEL_FILE)
    assert record["steps"] == 80
    assert record["settings"]["dim"] == 128
    assert record["torch"] == torch.__version__
    assert record["comfyui"] == training.comfyui_version(comfy_inproc.path)
    assert record["parameters"] == sum(w.numel() for w in load_file(trained / MODEL_FILE).values())
    assert record["loss"][-1][1] == pytest.approx(log[-1]["loss"], abs=1e-4)


def clip(file, comfy_inproc):
    """A clip by ComfyUI's own KSampler."""
    model = comfy_inproc.load(file)
    assert type(model.model.model_config).__name__ == "WAN21_T2V"
    return comfy_inproc.ksampler(
        model,
        positive=[[conditions.context(RED_STAR), {}]],
        negative=[[conditions.context(""), {}]],
        latent=torch.zeros(1, 16, 3, 12, 12), seed=1, steps=4, cfg=4.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shipped(trained):
    path = trained / "shipped" / MODEL_FILE
    shipping.ship(trained / MODEL_FILE, path)
    return path


# what is shipped


def test_shipped_file_is_the_model_in_fewer_bits(trained, shipped, comfy_inproc):
    first, second = (clip(file, comfy_inproc) for file in (trained / MODEL_FILE, shipped))
    assert 0 < (first - second).norm() < 0.1 * first.norm()
    assert shipped.stat().st_size < 0.6 * (trained / MODEL_FILE).stat().st_size
    record = checkpoint.load_record(shipped)
    assert "float8_e4m3fn" in record.pop("shipping")["matrices"]
    assert record == checkpoint.load_record(trained / MODEL_FILE)


def test_what_cannot_be_shipped_is_refused(trained, shipped, tmp_path, monkeypatch):
    out = tmp_path / "new.safetensors"
    with pytest.raises(ValueError, match="shipped already"):
        shipping.ship(shipped, out)
    monkeypatch.setattr(shipping, "SHIPPED_BYTES", 1000)
    with pytest.raises(ValueError, match="1,000 at most"):
        shipping.ship(trained / MODEL_FILE, out)
    assert not out.exists()


def test_a_matrix_of_zeros_is_shipped_as_one():
    weights = {"a.weight": torch.zeros(4, 8), "b.weight": torch.full((4, 8), 2.0)}
    found = shipping.plain(shipping.quantised(weights))
    assert {name: weight.tolist() for name, weight in found.items()} == {
        name: weight.tolist() for name, weight in weights.items()
    }


def test_committed_model_is_small_and_as_ship_writes_it():
    assert SHIPPED.stat().st_size <= shipping.SHIPPED_BYTES == 34 * 2**20
    weights = load_file(SHIPPED)
    plain = shipping.plain(weights)
    record = checkpoint.load_record(SHIPPED)
    assert sum(weight.numel() for weight in plain.values()) == record["parameters"] > 30e6
    assert record["steps"] > 1000  # of a real training
    again = shipping.quantised(plain)
    assert again.keys() == weights.keys()
    for name, weight in weights.items():
        assert again[name].dtype == weight.dtype
        assert torch.equal(again[name].float(), weight.float()), name
