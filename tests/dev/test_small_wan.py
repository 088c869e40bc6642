"""The small video model's clips, words, codec and trainer.  What it became is judged elsewhere."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from psa_pack.tools.tiny_wan import checkpoint, clips, conditions, pool, sample
from psa_pack.tools.tiny_wan.__main__ import CODEC, PROMPTS
from psa_pack.tools.tiny_wan.codec import FRAMES, Codec, frames_of, from_patches, to_patches
from psa_pack.tools.tiny_wan.optimizer import orthogonalised
from psa_pack.tools.tiny_wan.train import MODEL_FILE, Settings, Trainer, train

SMALL = {"frames": 5, "height": 96, "width": 128}
RED_DISC = "camera still, plain blue background, red plain disc resting"
# trains in seconds on a CPU
TOY = Settings(
    dim=128, layers=1, ffn=128, batch_tokens=128, warmup_steps=5, decay_from=0.5, curriculum="tiny"
)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(CODEC)


# clips


def test_clips_repeat_from_their_seed_and_only_from_it():
    first, again, other = (clips.render(clips.draw(seed, 2, **SMALL)) for seed in (1, 1, 2))
    assert first.shape == (2, 3, 5, 96, 128)
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.05


def test_a_clip_shows_what_its_prompt_says():
    drawn = clips.draw(3, 1, **SMALL, prompts=[RED_DISC])
    assert drawn.prompts() == [RED_DISC]
    drawn.centre[0, 0] = torch.tensor([40.0, 50.0])
    pixels = clips.render(drawn)[0]
    red = torch.tensor(conditions.COLOURS["red"])
    assert (pixels[:, :, 50, 40] - red[:, None]).abs().max() < 0.02
    away = pixels[:, :, 5, 120]
    assert (away[2] > away[0]).all()
    assert (pixels.diff(dim=1).abs() < 1e-6).all()  # camera and disc rest


def test_objects_move_as_asked():
    words = {"spinning": "striped", "pulsing": "plain", "drifting": "plain", "circling": "plain"}
    for motion, texture in words.items():
        prompt = f"camera still, plain blue background, red {texture} square {motion}"
        pixels = clips.render(clips.draw(4, 1, **SMALL, prompts=[prompt]))
        assert pixels.diff(dim=2).abs().amax() > 0.1, motion


@pytest.mark.parametrize("word", ["left", "right", "up", "down"])
def test_the_camera_pans_the_background_rigidly(word):
    prompt = f"camera {word}, blotchy green background"
    drawn = clips.draw(5, 1, **SMALL, prompts=[prompt])
    drawn.pan = drawn.pan.sign() * 2
    dx, dy = (int(step) for step in drawn.pan[0])
    # the camera goes one way, so what it sees goes the other
    assert (dx, dy) == {"left": (2, 0), "right": (-2, 0), "up": (0, 2), "down": (0, -2)}[word]
    frames = clips.render(drawn)[0]
    rolled = frames[:, :-1].roll((-dy, -dx), (2, 3))
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    assert torch.allclose(frames[:, 1:][inner], rolled[inner], atol=1e-4)


def test_objects_in_front_hide_those_behind():
    prompt = f"{RED_DISC}, white plain square resting"
    drawn = clips.draw(6, 1, **SMALL, prompts=[prompt])
    drawn.centre[0, :2] = torch.tensor([60.0, 48.0])
    white = torch.tensor(conditions.COLOURS["white"])
    assert (clips.render(drawn)[0, :, 0, 48, 60] - white).abs().max() < 0.02


# words


def test_drawn_words_survive_text_and_back():
    words = clips.draw(7, 64, **SMALL).words
    for ids in words:
        assert torch.equal(conditions.parse(conditions.text(ids)), ids)


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("camera sideways", "'sideways'"),
        ("camera left, red background", "'red background'"),
        ("camera left, plain red background, red plain disc", "needs 4 words"),
        (", ".join(["camera left"] * 7), "7 phrases"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_answered_by_name(prompt, named):
    with pytest.raises(conditions.PromptError, match=named):
        conditions.parse(prompt)


def test_conditions_tell_prompts_apart_and_the_empty_one_is_nothing():
    assert not conditions.context("").any()
    swapped = "camera still, plain red background, blue plain disc resting"
    first, second = (conditions.context(prompt) for prompt in (RED_DISC, swapped))
    assert first.shape == (1, conditions.TOKENS, conditions.TEXT_DIM)
    assert not torch.equal(first, second)
    # absent objects stay absent
    assert not first[0, 3:].any()


def test_shipped_conditions_are_those_of_their_prompts():
    shipped = load_file(CODEC.with_name("conditions.safetensors"))
    assert set(shipped) == {*PROMPTS, "(empty)"}
    for prompt, tensor in shipped.items():
        expected = conditions.context("" if prompt == "(empty)" else prompt)[0]
        # the tensors are rounded to bfloat16
        assert torch.allclose(tensor.float(), expected, rtol=2**-8, atol=1e-6)


# codec


def test_patches_are_a_rearrangement():
    pixels = torch.rand(2, 3, 8, 24, 16)
    patches = to_patches(pixels)
    assert patches.shape == (2, 2, 3, 2, 768)
    assert torch.equal(from_patches(patches), pixels)


def test_codec_carries_clips_it_was_not_fitted_on(codec):
    drawn = clips.draw(99, 8, frames=frames_of(3), height=128, width=192)
    latent = pool.latents_of(drawn, codec)
    assert latent.shape == (8, 16, 3, 16, 24)
    back = codec.decode(latent)
    assert back.shape == (8, 3, 9, 128, 192)
    error = (back - clips.render(drawn)).square().mean()
    assert -10 * error.log10() > 27  # dB; PCA kept 99.5% of the variance
    # the model's space: no channel is much louder than another
    deviation = latent.std(dim=(0, 2, 3, 4))
    assert deviation.min() > 0.6
    assert deviation.max() < 1.6


def test_codec_speaks_comfyuis_wan_latents(codec, comfy_inproc):
    from comfy.latent_formats import Wan21

    latent = torch.randn(1, 16, 2, 4, 4)
    saved = codec.to_comfy(latent)
    assert torch.allclose(saved, Wan21().process_out(latent), atol=1e-5)
    assert torch.allclose(codec.from_comfy(saved), latent, atol=1e-5)


# trainer


def test_orthogonalised_keeps_directions_and_evens_singular_values():
    matrices = torch.randn(3, 40, 16, generator=torch.Generator().manual_seed(1))
    found = torch.linalg.svd(orthogonalised(matrices))
    assert 0.6 < found.S.min() <= found.S.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    exact = left @ right
    close = (orthogonalised(matrices) * exact).sum((1, 2)) / exact.square().sum((1, 2))
    assert (close > 0.8).all()


def trainer(codec, comfyui, settings=TOY) -> Trainer:
    return Trainer(settings, codec, comfyui, device="cpu", compiled=False)


def test_a_resumed_training_is_the_same_training(comfy_inproc, codec, tmp_path, monkeypatch):
    # the pool is not kept: here every step draws from what it rendered itself
    monkeypatch.setattr(pool, "POOLED_TOKENS", 1)
    settings = dataclasses.replace(TOY, reuse=1)
    whole = trainer(codec, comfy_inproc.path, settings)
    for _ in range(4):
        whole.train_step(0.1)
    whole.save(tmp_path)
    resumed = trainer(codec, comfy_inproc.path, settings)
    resumed.load(*checkpoint.load_state(tmp_path))
    assert resumed.step == 4
    for name, weight in whole.weights.items():
        assert torch.equal(resumed.weights[name], weight), name
        assert torch.allclose(resumed.average[name], whole.average[name], atol=1e-4), name
    losses = [(whole.train_step(0.1).item(), resumed.train_step(0.1).item()) for _ in range(3)]
    assert losses[0][0] == pytest.approx(losses[0][1], rel=1e-5)
    # moments are kept in bfloat16, so the ways part a little
    for one, other in losses[1:]:
        assert one == pytest.approx(other, rel=0.02)


def test_state_of_other_settings_is_refused(comfy_inproc, codec, tmp_path):
    first = trainer(codec, comfy_inproc.path)
    first.train_step(0.0)
    first.save(tmp_path)
    other = trainer(codec, comfy_inproc.path, dataclasses.replace(TOY, rate=1e-3))
    with pytest.raises(ValueError, match="rate"):
        other.load(*checkpoint.load_state(tmp_path))


@pytest.fixture(scope="module")
def trained(comfy_inproc, codec, tmp_path_factory):
    """A toy trained for a moment, in one piece."""
    out = tmp_path_factory.mktemp("trained")
    finished = train(
        dataclasses.replace(TOY, ema=0.9), codec, comfy_inproc.path, out,
        # steps alone decide how far it is, however slow the machine
        minutes=600, total_minutes=600, max_steps=150, device="cpu", compiled=False,
    )  # fmt: skip
    assert finished
    return out


def test_training_lowers_the_loss_and_says_what_it_did(trained):
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [50, 100, 150]
    assert log[-1]["loss"] < 0.85 * log[0]["loss"]
    record = checkpoint.load_record(trained / MODEL_FILE)
    assert record["steps"] == 150
    assert record["settings"]["dim"] == 128
    assert record["loss"][-1][1] == pytest.approx(log[-1]["loss"], abs=1e-4)


def test_comfyui_loads_the_model_as_wan_and_samples_it(trained, comfy_inproc):
    model = comfy_inproc.load(trained / MODEL_FILE)
    assert type(model.model.model_config).__name__ == "WAN21_T2V"
    condition = [[conditions.context(RED_DISC), {}]]
    empty = [[conditions.context(""), {}]]
    latent = comfy_inproc.ksampler(
        model, positive=condition, negative=empty, latent=torch.zeros(1, 16, 3, 12, 12),
        seed=1, steps=4, cfg=4.0,
    )  # fmt: skip
    assert torch.isfinite(latent).all()


def test_our_sampler_is_comfyuis(trained, comfy_inproc, codec):
    model = sample.load_model(trained / MODEL_FILE, comfy_inproc.path, device="cpu")
    size, steps = (3, 6, 6), 4
    ours = sample.euler(model, [RED_DISC], [1], size, steps=steps, cfg=4.0, device="cpu")
    theirs = comfy_inproc.ksampler(
        comfy_inproc.load(trained / MODEL_FILE),
        positive=[[conditions.context(RED_DISC), {}]],
        negative=[[conditions.context(""), {}]],
        latent=torch.zeros(1, 16, 3, 12, 12), seed=1, steps=steps, cfg=4.0,
    )  # fmt: skip
    assert torch.allclose(codec.from_comfy(theirs), ours, atol=2e-2)


def test_a_model_too_large_to_ship_is_refused(tmp_path):
    weights = {"a": torch.zeros(9 * 2**20)}
    with pytest.raises(ValueError, match="at most"):
        checkpoint.save_model(tmp_path / "big.safetensors", weights, {})


def test_first_frame_stands_for_its_whole_group():
    drawn = clips.draw(8, 1, **SMALL)
    led = clips.render(drawn, lead=FRAMES - 1)
    assert torch.equal(led[:, :, FRAMES - 1 :], clips.render(drawn))
    assert (led[:, :, :FRAMES] == led[:, :, :1]).all()
