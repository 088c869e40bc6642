"""Transformers and pipelines of diffusers with tiny random weights, and runs of them."""

import pytest
import torch

from psa_kernels import PSAConfig

diffusers = pytest.importorskip(
    "diffusers", reason="diffusers is not installed: pip install .[diffusers]"
)

from diffusers.models.embeddings import get_3d_rotary_pos_embed  # noqa: E402

STEPS = 4
BLOCKS = {"wan": 2, "vace": 3, "cogvideox": 2, "ltx": 2, "hunyuan": 3}
TEXT = 9
EVERYTHING = {1: (0.0, 1.0)}
LITTLE = {1: (0.0, 0.3), 4: (0.3, 0.6), 0: (0.6, 1.0)}


def everything(**more):
    return PSAConfig(mask_ratios=EVERYTHING, **more)


def little(**more):
    return PSAConfig(mask_ratios=LITTLE, block_m=64, block_n=64, **more)


WAN = {
    "patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 24,
    "in_channels": 4, "out_channels": 4, "text_dim": 16, "freq_dim": 16, "ffn_dim": 32,
    "num_layers": 2, "rope_max_seq_len": 32,
}  # fmt: skip


def wan(**more):
    return diffusers.WanTransformer3DModel(**WAN | more)


def vace():
    return diffusers.WanVACETransformer3DModel(**WAN, vace_layers=[0], vace_in_channels=6)


def cogvideox():
    return diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=32, in_channels=4, out_channels=4,
        time_embed_dim=8, text_embed_dim=16, num_layers=2, sample_width=32, sample_height=24,
        sample_frames=9, max_text_seq_length=TEXT, use_rotary_positional_embeddings=True,
    )  # fmt: skip


def ltx():
    return diffusers.LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=32,
        cross_attention_dim=64, num_layers=2, caption_channels=16,
    )  # fmt: skip


def hunyuan():
    return diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=32, num_layers=1,
        num_single_layers=2, num_refiner_layers=1, text_embed_dim=16, pooled_projection_dim=8,
        rope_axes_dim=(8, 12, 12),
    )  # fmt: skip


MAKERS = {"wan": wan, "vace": vace, "cogvideox": cogvideox, "ltx": ltx, "hunyuan": hunyuan}


def made(name, seed=0, **more):
    torch.manual_seed(seed)
    return MAKERS[name](**more).eval().requires_grad_(False)


def scheduler(shift=3.0):
    return diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)


def wan_pipeline(**more):
    """A whole pipeline, but for what makes the prompt's embeddings and the frames."""
    steps = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    models = {"transformer": made("wan")} | more
    found = diffusers.WanPipeline(
        tokenizer=None, text_encoder=None, vae=None, scheduler=steps, **models
    )
    found.set_progress_bar_config(disable=True)
    return found


def clip(pipeline, count=STEPS, device="cpu", dtype=torch.float32, **more):
    """The last latent of a run of the pipeline, guided; a video of 3 x 12 x 16 tokens."""
    random = torch.Generator().manual_seed(1)
    text, nothing = (torch.randn(1, 8, 16, generator=random) for _ in range(2))
    return pipeline(
        prompt_embeds=text.to(device, dtype), negative_prompt_embeds=nothing.to(device, dtype),
        height=192, width=256, num_frames=9, num_inference_steps=count, guidance_scale=3.0,
        generator=random, output_type="latent", **more,
    ).frames  # fmt: skip


def conditions(name, seed=1, text=TEXT):
    """(latent, the model's other inputs): a video of 3 x 12 x 16 tokens."""
    random = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(shape, generator=random)

    inputs = {"encoder_hidden_states": noise(1, TEXT, 16)}
    latent = noise(1, 4, 3, 24, 32)
    if name == "vace":
        inputs["control_hidden_states"] = noise(1, 6, 3, 24, 32)
    if name == "cogvideox":
        latent = latent.transpose(1, 2)
        rotary = get_3d_rotary_pos_embed(32, ((0, 0), (12, 16)), (12, 16), 3)
        inputs["image_rotary_emb"] = rotary
    if name == "ltx":
        latent = noise(1, 3 * 12 * 16, 4)
        inputs |= {
            "encoder_attention_mask": torch.ones(1, TEXT),
            "num_frames": 3,
            "height": 12,
            "width": 16,
        }
    if name == "hunyuan":
        mask = (torch.arange(TEXT) < text).long()[None]
        inputs |= {
            "encoder_attention_mask": mask,
            "pooled_projections": noise(1, 8),
            "guidance": torch.tensor([6000.0]),
        }
    return latent, inputs


@torch.no_grad()
def denoised(name, model, steps, branches=1, count=STEPS):
    """The last latent of a run, as a pipeline makes it, on the model's device and in its dtype;
    with two branches guided away from the second's."""
    device, dtype = model.device, model.dtype

    def placed(given):
        if isinstance(given, tuple):
            return tuple(map(placed, given))
        if not isinstance(given, torch.Tensor):
            return given
        return given.to(device, dtype if given.is_floating_point() else None)

    steps.set_timesteps(count, device=device)
    x = conditions(name)[0].to(device)
    inputs = [conditions(name, seed)[1] for seed in range(1, 1 + branches)]
    inputs = [{key: placed(given) for key, given in each.items()} for each in inputs]
    for t in steps.timesteps:
        outs = [
            model(hidden_states=x.to(dtype), timestep=t.expand(1), return_dict=False, **given)[0]
            for given in inputs
        ]
        out = outs[0] if branches == 1 else outs[1] + 3.0 * (outs[0] - outs[1])
        x = steps.step(out, t, x, return_dict=False)[0]
    return x
