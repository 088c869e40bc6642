"""InfiniteTalk on Wan, through ComfyUI's own node; and Wan models that ask no override."""

import dataclasses

import pytest
import torch

from .. import zoo
from ..sampling import Spy, conditioning
from ..zoo import clip_vision, noise
from .layout import Layout, Way, check, covers
from .test_wan import SMALL, each

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


def talking(model, speakers):
    """The model and what goes beside the text, as the node makes them."""
    import comfy.model_patcher
    import comfy.ops
    from comfy_extras.nodes_model_patch import MultiTalkModelPatch
    from comfy_extras.nodes_wan import WanInfiniteTalkToVideo

    patch = MultiTalkModelPatch(
        intermediate_dim=32, in_dim=WIDTH, num_layers=2, device="cpu", dtype=torch.float32,
        operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    patch.load_state_dict(zoo.random_weights(patch))
    cpu = torch.device("cpu")
    patch = comfy.model_patcher.ModelPatcher(patch, load_device=cpu, offload_device=cpu)
    mode = {"mode": "single_speaker"}
    if speakers == 2:
        left = torch.zeros(1, 64, 96)
        left[:, :, :48] = 1
        mode = {"mode": "two_speakers", "mask_1": left, "mask_2": 1 - left}
        mode["audio_encoder_output_2"] = speech(50)
    with torch.inference_mode():
        made = WanInfiniteTalkToVideo.execute(
            mode, model, patch, [[None, {}]], [[None, {}]], Encoder(),
            96, 64, 9, speech(20), 9, start_image=noise(1, 64, 96, 3, seed=7).abs().clamp(0, 1),
            audio_scale=1.0, clip_vision_output=clip_vision(),
        )  # fmt: skip
    return made[0], made[1][0][1]


# its audio is of one video, and of one condition at a time
@each(
    pytest.param(
        Layout(SMALL, (3, 4, 6), given=1), Way(split=True), id="one condition at a time",
        marks=[
            pytest.mark.covers(INFINITE_TALK, "sparse & exact"),
            pytest.mark.covers(INFINITE_TALK, "CFG split"),
        ],
    ),
    covers(INFINITE_TALK, "batch 3", Layout(SMALL, (3, 4, 6)), cannot=True),
)
@pytest.mark.parametrize("speakers", [1, 2])
def test_infinite_talk(bench, comfy_inproc, monkeypatch, layout, way, speakers):
    comfy_inproc.load_pack()  # and so ComfyUI's own nodes, in the order they can be loaded in
    model = zoo.wan(**zoo.I2V, dim=WIDTH, num_heads=5)
    pytest.importorskip("comfy.ldm.wan.model_multitalk")
    model, conditions = talking(model, speakers)
    layout = dataclasses.replace(layout, conditions=conditions)
    check(bench, monkeypatch, model, layout, way)


S2V_REASON = "its attention does not ask ComfyUI's override in this version, which the console says"


@each(covers("Wan 2.2 S2V", "sparse & exact", Layout(SMALL, (3, 4, 6)), dense=S2V_REASON))
def test_s2v_of_older_versions_keeps_its_calls_to_itself(bench, caplog, layout, way):
    model = zoo.wan("WanModel_S2V")
    if zoo.takes(model, "block_index"):
        pytest.skip("this ComfyUI's S2V asks")
    unseen(bench, model, caplog, lambda m: bench.sample(m, shape=(1, *SMALL), steps=2))


CAUSAL = "Wan causal (AR video)"


@each(
    covers(
        CAUSAL, "sparse & exact", Layout(SMALL, (3, 4, 6)),
        dense="with its own sampler it does not ask ComfyUI's override, which the console says",
    )
)
def test_causal_with_its_own_sampler(bench, caplog, layout, way):
    model = zoo.wan("CausalWanModel", "ar_model", {"causal_ar": True})
    import comfy.sample
    import comfy.samplers

    frame_by_frame = comfy.samplers.ksampler("ar_video", {"num_frame_per_block": 1})
    latent, start = torch.zeros(1, *SMALL), noise(1, *SMALL)
    text = conditioning(0, 20, 4096)
    sigmas = torch.tensor([1.0, 0.8, 0.0])

    @torch.inference_mode()
    def sample(m):
        return comfy.sample.sample_custom(
            m, start, 1.0, frame_by_frame, sigmas, text, text, latent, disable_pbar=True, seed=1
        )

    unseen(bench, model, caplog, sample)


def unseen(bench, model, caplog, sample):
    plain = sample(model)
    spy = Spy()
    assert torch.equal(sample(spy.on(bench.patch(model=model))), plain)
    assert not spy.calls
    assert bench.reports[-1]["calls"] == {"sparse": 0, "dense": {}}
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING" and r.name == "PSA"]
    assert [line for line in said if "no attention call of this run could be seen" in line]
