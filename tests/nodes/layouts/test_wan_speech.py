"""InfiniteTalk on Wan, through ComfyUI's own node; and Wan models that ask no override."""

import dataclasses

import pytest
import torch

from .. import zoo
from ..sampling import Spy, conditioning
from ..zoo import clip_vision, noise
from .basics import each
from .layout import Layout, Way, check, covers, mismatch, sampler, with_windows
from .test_wan import REFERENCE, SMALL, small

INFINITE_TALK = "Wan InfiniteTalk"
# its audio blocks have 40 heads, Wan's of 128 channels: 640 is the smallest that both can have
WIDTH = 640


class Encoder:
    """In place of a VAE: only the latent's size matters."""

    def encode(self, pixels):
        frames, height, width, _ = pixels.shape
        return noise(1, 16, (frames + 3) // 4, height // 8, width // 8, seed=6)


def speech(seed):
    return {"encoded_audio_all_layers": [noise(1, 30, 768, seed=seed + i) for i in range(13)]}


def talking(model, speakers, frames, height, width):
    """The model and what goes beside the text, as the node makes them for a latent's size."""
    import comfy.model_patcher
    import comfy.ops
    from comfy_extras.nodes_model_patch import MultiTalkModelPatch
    from comfy_extras.nodes_wan import WanInfiniteTalkToVideo

    patch = MultiTalkModelPatch(
        intermediate_dim=32, in_dim=WIDTH, num_layers=2, device="cpu", dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    patch.load_state_dict(zoo.random_weights(patch))
    length, height, width = 4 * frames - 3, 8 * height, 8 * width
    cpu = torch.device("cpu")
    patch = comfy.model_patcher.ModelPatcher(patch, load_device=cpu, offload_device=cpu)
    mode = {"mode": "single_speaker"}
    if speakers == 2:
        left = torch.zeros(1, height, width)
        left[:, :, : width // 2] = 1
        mode = {"mode": "two_speakers", "mask_1": left, "mask_2": 1 - left}
        mode["audio_encoder_output_2"] = speech(50)
    with torch.inference_mode():
        made = WanInfiniteTalkToVideo.execute(
            mode, model, patch, [[None, {}]], [[None, {}]], Encoder(),
            width, height, length, speech(20), 9,
            start_image=noise(1, height, width, 3, seed=7).abs().clamp(0, 1),
            audio_scale=1.0, clip_vision_output=clip_vision(),
        )  # fmt: skip
    return made[0], made[1][0][1]


def alone(*features, latent=SMALL, grid=(3, 4, 6), id=None, cannot="", **way):
    """A case of InfiniteTalk, whose audio makes prompt and negative prompt separate calls."""
    layout = Layout(latent, grid, given=1, refused=cannot)
    marks = [pytest.mark.covers(INFINITE_TALK, f, cannot=bool(cannot)) for f in features]
    return pytest.param(layout, Way(split=True, **way), marks=marks, id=id or features[0])


# its audio is of one video, and of the whole; of a single frame all would be given
@each(
    alone("sparse & exact", "CFG split"),
    alone("odd sizes", latent=(16, 5, 2, 30), grid=(5, 1, 15), id="1 x N"),
    alone("odd sizes", latent=(16, 2, 9, 13), grid=(2, 5, 7)),
    alone("batch 3", batch=3, cannot=r"shape '\[9, 32, 2, "),
    alone("context windows", latent=(16, 5, 8, 12), window=3, cannot=r"shape '\[3, 32, 2, "),
)
def test_infinite_talk(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, *talker(layout, speakers=1), way)


@each(alone("sparse & exact"))
def test_two_speakers(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, *talker(layout, speakers=2), way)


def test_where_each_of_two_speakers_is_is_not_padded_as_the_latent_is(bench):
    model, layout = talker(Layout((16, 2, 9, 13), (2, 5, 7)), speakers=2)
    with pytest.raises(RuntimeError, match=mismatch(35, 24)):
        sampler(bench, layout, Way(split=True))(model)


def talker(layout, speakers):
    """A model that speaks, and the layout with what the model wants beside the text."""
    model = zoo.wan(**zoo.I2V, dim=WIDTH, num_heads=5)
    pytest.importorskip("comfy.ldm.wan.model_multitalk")
    model, conditions = talking(model, speakers, *layout.latent[1:])
    return model, dataclasses.replace(layout, conditions=conditions)


S2V = "Wan 2.2 S2V"
S2V_REASON = "its attention does not ask ComfyUI's override in this version; the console says so"


OF_OLDER_VERSIONS = {
    "sparse & exact": small(),
    "batch 3": small(),
    "CFG split": small(),
    "odd sizes": Layout((16, 2, 9, 13), (2, 5, 7)),
    "context windows": Layout((16, 5, 8, 12), (3, 4, 6)),
    "references": small(conditions=REFERENCE),
}


@each(*(covers(S2V, *case, dense=S2V_REASON) for case in OF_OLDER_VERSIONS.items()))
def test_s2v_of_older_versions_keeps_its_calls_to_itself(bench, caplog, layout, way):
    model = zoo.wan("WanModel_S2V")
    if zoo.takes(model, "block_index"):
        pytest.skip("this ComfyUI's S2V asks")
    if way.window:
        model = with_windows(model, way.window)
    unseen(bench, model, caplog, sampler(bench, layout, way))


CAUSAL = "Wan causal (AR video)"
CAUSAL_REASON = "with its own sampler it does not ask ComfyUI's override; the console says so"


CAUSAL_LAYOUTS = {
    "sparse & exact": small(),
    "odd sizes": Layout((16, 5, 2, 30), (5, 1, 15)),
    "batch 3": small(),
}


@each(*(covers(CAUSAL, *case, dense=CAUSAL_REASON) for case in CAUSAL_LAYOUTS.items()))
def test_causal_with_its_own_sampler(bench, caplog, layout, way):
    causal = zoo.wan("CausalWanModel", "ar_model", {"causal_ar": True})
    unseen(bench, causal, caplog, frame_by_frame(layout, way.batch))


@pytest.mark.covers(CAUSAL, "CFG split", cannot=True)
def test_causal_has_one_cache_for_prompt_and_negative_prompt(bench):
    causal = zoo.wan("CausalWanModel", "ar_model", {"causal_ar": True})
    with pytest.raises(RuntimeError, match="must match"):
        frame_by_frame(small(), cfg=2.0, negative_tokens=23)(causal)


def test_causal_cannot_do_latents_that_its_patches_do_not_divide(bench):
    causal = zoo.wan("CausalWanModel", "ar_model", {"causal_ar": True})
    with pytest.raises(RuntimeError, match="must match"):
        frame_by_frame(Layout((16, 2, 9, 13), (2, 5, 7)))(causal)


def frame_by_frame(layout, batch=1, cfg=1.0, negative_tokens=20):
    """sample(model) -> the latent after two steps for each frame."""
    import comfy.sample
    import comfy.samplers

    own = comfy.samplers.ksampler("ar_video", {"num_frame_per_block": 1})
    latent, start = torch.zeros(batch, *layout.latent), noise(batch, *layout.latent)
    prompt, negative = conditioning(0, 20, 4096), conditioning(1, negative_tokens, 4096)
    sigmas = torch.tensor([1.0, 0.8, 0.0])

    @torch.inference_mode()
    def sample(model):
        return comfy.sample.sample_custom(
            model, start, cfg, own, sigmas, prompt, negative, latent, disable_pbar=True, seed=1
        )

    return sample


def unseen(bench, model, caplog, sample):
    plain = sample(model)
    assert torch.isfinite(plain).all()
    spy = Spy()
    assert torch.equal(sample(spy.on(bench.patch(model=model))), plain)
    assert not spy.calls
    assert bench.reports[-1]["calls"] == {"sparse": 0, "dense": {}}
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING" and r.name == "PSA"]
    assert [line for line in said if "attention did not ask" in line]
