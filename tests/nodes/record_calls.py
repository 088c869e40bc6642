"""Records what ComfyUI's models hand to an attention override: writes calls_0_33.json beside this.

    python tests/nodes/record_calls.py PATH_TO_COMFYUI

Run by hand, on a ComfyUI that has the models; tests replay the file on any version. Every model is
tiny, has random weights and is called once; a call is recorded by shapes, strides and keywords.
"""

import importlib
import json
import math
import sys
from pathlib import Path

OUT = Path(__file__).with_name("calls_0_33.json")
# what of transformer_options a call is recorded with
PUBLISHED = ("grid_sizes", "block_index", "block_type", "total_blocks", "img_slice")
WAN = {"dim": 256, "ffn_dim": 256, "num_heads": 2, "num_layers": 1, "text_dim": 64}
HUNYUAN = {
    "in_channels": 16, "out_channels": 16, "vec_in_dim": 64, "context_in_dim": 64,
    "hidden_size": 256, "mlp_ratio": 4.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1,
    "axes_dim": [16, 56, 56], "theta": 256, "patch_size": [1, 2, 2], "qkv_bias": True,
    "guidance_embed": True, "byt5": False, "meanflow": False, "use_cond_type_embedding": False,
    "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
FLUX = {
    "in_channels": 16, "out_channels": 16, "vec_in_dim": 64, "context_in_dim": 64,
    "hidden_size": 256, "mlp_ratio": 4.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1,
    "axes_dim": [16, 56, 56], "theta": 10000, "patch_size": 2, "qkv_bias": True,
    "guidance_embed": True, "txt_ids_dims": [],
}  # fmt: skip
QWEN = {"num_layers": 1, "num_attention_heads": 2, "joint_attention_dim": 64}
LTXV = {
    "in_channels": 128, "cross_attention_dim": 128, "attention_head_dim": 64,
    "num_attention_heads": 2, "caption_channels": 64, "num_layers": 1,
}  # fmt: skip
MOCHI = {
    "patch_size": 2, "in_channels": 12, "hidden_size_x": 256, "hidden_size_y": 128, "depth": 2,
    "num_heads": 2, "mlp_ratio_x": 48.0, "mlp_ratio_y": 2.0, "use_t5": True, "t5_feat_dim": 64,
    "t5_token_length": 16, "learn_sigma": False, "timestep_scale": 1000.0, "qk_norm": True,
    "qkv_bias": False, "out_bias": True,
}  # fmt: skip
COSMOS = {
    "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16,
    "patch_spatial": 2, "patch_temporal": 1, "concat_padding_mask": False, "model_channels": 256,
    "num_blocks": 1, "num_heads": 2, "crossattn_emb_channels": 64, "pos_emb_cls": "rope3d",
    "use_adaln_lora": True, "adaln_lora_dim": 32, "min_fps": 1, "max_fps": 30,
}  # fmt: skip
KANDINSKY = {
    "in_text_dim": 64, "in_text_dim2": 32, "time_dim": 64, "model_dim": 128, "ff_dim": 128,
    "visual_embed_dim": 64, "num_text_blocks": 1, "num_visual_blocks": 1,
}  # fmt: skip
COGVIDEOX = {
    "num_attention_heads": 2, "attention_head_dim": 64, "in_channels": 16, "out_channels": 16,
    "time_embed_dim": 64, "text_embed_dim": 64, "num_layers": 1,
    "use_rotary_positional_embeddings": True,
}  # fmt: skip
LUMINA = {
    "in_channels": 16, "dim": 256, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2,
    "n_kv_heads": 1, "multiple_of": 64, "qk_norm": True, "cap_feat_dim": 64,
    "axes_dims": [32, 48, 48], "axes_lens": [300, 512, 512],
}  # fmt: skip
HIDREAM = {
    "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 1,
    "num_single_layers": 1, "attention_head_dim": 128, "num_attention_heads": 2,
    "caption_channels": [64, 64], "text_emb_dim": 64, "axes_dims_rope": [64, 32, 32],
    "llama_layers": [0, 1],
}  # fmt: skip
MINIMAX = {
    "hidden_size": 256, "num_layers": 1, "token_refiner_num_layers": 1, "num_attention_heads": 2,
    "attention_head_dim": 128, "ffn_hidden_size": 128, "latents_dim": 24, "audio_latents_dim": 32,
    "text_dim": 64, "timestep_input_dim": 32, "time_embed_hidden_size": 64, "time_embed_dim": 64,
}  # fmt: skip
OMNIGEN = {
    "hidden_size": 240, "num_layers": 1, "num_refiner_layers": 1, "num_attention_heads": 2,
    "num_kv_heads": 1, "multiple_of": 32, "axes_dim_rope": (40, 40, 40), "in_channels": 16,
}  # fmt: skip
SD3 = {
    "in_channels": 16, "depth": 2, "num_blocks": 2, "input_size": None, "adm_in_channels": 64,
    "qk_norm": "rms", "num_patches": 400, "pos_embed_max_size": 20, "x_block_self_attn_layers": [0],
    "context_embedder_config": {
        "target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 128},
    },
}  # fmt: skip
AURAFLOW = {
    "dim": 256, "n_layers": 2, "n_double_layers": 1, "n_heads": 2, "global_conddim": 256,
    "cond_seq_dim": 64, "max_seq": 144, "in_channels": 16, "out_channels": 16,
}  # fmt: skip
PIXELDIT = {
    "num_groups": 2, "hidden_size": 128, "pixel_hidden_size": 16, "pixel_attn_hidden_size": 64,
    "pixel_num_groups": 2, "patch_depth": 1, "pixel_depth": 1, "patch_size": 2, "txt_embed_dim": 64,
    "in_channels": 16,
}  # fmt: skip


def recordings(torch):
    """name, module below comfy.ldm, class, settings, positional arguments, keywords"""
    rand = torch.randn
    video, image, text = rand(1, 16, 3, 8, 12), rand(1, 16, 16, 24), rand(1, 7, 64)
    step, half = torch.tensor([500.0]), torch.tensor([0.5])
    padding = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    wan, hunyuan = "wan.model", "hunyuan_video.model"
    pooled = {"y": rand(1, 64), "guidance": torch.tensor([6000.0])}
    reference = {"reference_latent": rand(1, 16, 8, 12)}
    context = {"context_latents": [rand(1, 16, 1, 8, 12)]}
    vace = {"vace_context": rand(1, 1, 96, 3, 8, 12), "vace_strength": [1.0]}
    clip = {"clip_fea": rand(1, 257, 1280)}
    return [
        ("wan t2v", wan, "WanModel", WAN, (video, step, text), {}),
        ("wan odd size", wan, "WanModel", WAN, (rand(1, 16, 3, 9, 13), step, text), {}),
        ("wan i2v", wan, "WanModel", {**WAN, "model_type": "i2v", "in_dim": 36},
         (rand(1, 36, 3, 8, 12), step, text), clip),
        ("wan reference", wan, "WanModel", {**WAN, "in_dim_ref_conv": 16},
         (video, step, text), reference),
        ("wan context", wan, "WanModel", WAN, (video, step, text), context),
        ("wan vace", wan, "VaceWanModel", {**WAN, "vace_layers": 1, "vace_in_dim": 96},
         (video, step, text), vace),
        ("wan camera", wan, "CameraWanModel", {**WAN, "in_dim": 32},
         (rand(1, 32, 3, 8, 12), step, text), {"camera_conditions": None}),
        ("wan humo", wan, "HumoWanModel", WAN, (video, step, text),
         {"reference_latent": rand(1, 16, 1, 8, 12)}),
        ("cogvideox", "cogvideo.model", "CogVideoXTransformer3DModel", COGVIDEOX,
         (video, step, rand(1, 226, 64)), {}),
        ("hunyuan padded text", hunyuan, "HunyuanVideo", HUNYUAN, (video, step, text),
         {**pooled, "attention_mask": padding}),
        ("hunyuan", hunyuan, "HunyuanVideo", HUNYUAN, (video, step, text), pooled),
        ("ltxv", "lightricks.model", "LTXVModel", LTXV,
         (rand(1, 128, 3, 4, 6), step, text, None), {}),
        ("ltxv padded text", "lightricks.model", "LTXVModel", LTXV,
         (rand(1, 128, 3, 4, 6), step, text, padding), {}),
        ("mochi", "genmo.joint_model.asymm_models_joint", "AsymmDiTJoint", MOCHI,
         (rand(1, 12, 3, 8, 12), half, rand(1, 16, 64), torch.ones(1, 16, dtype=torch.bool)),
         {"num_tokens": 9}),
        ("cosmos predict2", "cosmos.predict2", "MiniTrainDIT", COSMOS, (video, half, text), {}),
        ("kandinsky 5", "kandinsky5.model", "Kandinsky5", KANDINSKY,
         (video, step, text, rand(1, 32)), {}),
        ("minimax h3", "minimax.model", "MiniMaxH3Model", MINIMAX,
         ([rand(1, 24, 3, 8, 12), rand(1, 32, 2, 10)], step, text), {}),
        ("flux", "flux.model", "Flux", FLUX, (image, half, text), pooled),
        ("qwen image", "qwen_image.model", "QwenImageTransformer2DModel", QWEN,
         (rand(1, 16, 1, 16, 24), half, text), {"attention_mask": None}),
        ("qwen image padded text", "qwen_image.model", "QwenImageTransformer2DModel", QWEN,
         (rand(1, 16, 1, 16, 24), half, text), {"attention_mask": padding}),
        ("lumina", "lumina.model", "NextDiT", LUMINA, (image, half, text, 7),
         {"attention_mask": None}),
        ("hidream", "hidream.model", "HiDreamImageTransformer2DModel", HIDREAM,
         (image, step, rand(1, 64), rand(1, 5, 64), rand(1, 2, 7, 64)), {}),
        ("omnigen 2", "omnigen.omnigen2", "OmniGen2Transformer2DModel",
         {**OMNIGEN, "text_feat_dim": 64}, (image, half, text, 7), {}),
        ("boogu", "boogu.model", "BooguTransformer2DModel",
         {**OMNIGEN, "instruction_feat_dim": 64, "num_double_stream_layers": 1},
         (image, half, text, 7), {}),
        ("sd 3.5 medium", "modules.diffusionmodules.mmdit", "OpenAISignatureMMDITWrapper", SD3,
         (image, step, text), {"y": rand(1, 64)}),
        ("auraflow", "aura.mmdit", "MMDiT", AURAFLOW, (image, half, text), {}),
        ("pixeldit", "pixeldit.model", "PixDiT_T2I", PIXELDIT, (image, step, text), {}),
    ]  # fmt: skip


def build(torch, module, name, settings):
    import comfy.ops

    kind = getattr(importlib.import_module(f"comfy.ldm.{module}"), name)
    operations = comfy.ops.disable_weight_init
    model = kind(device=None, dtype=torch.float32, operations=operations, **settings)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape) * 0.02
        parameter.requires_grad_(False)
    return model.eval()


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(x) for x in value]
    return value if isinstance(value, (bool, int, float, str)) or value is None else repr(value)


def tensor(x):
    return {"shape": list(x.shape), "stride": list(x.stride())}


def describe(torch, args, kwargs):
    options = kwargs.get("transformer_options") or {}
    rest = {k: v for k, v in kwargs.items() if k not in ("q", "k", "v", "transformer_options")}
    return {
        "positional": [tensor(x) if torch.is_tensor(x) else plain(x) for x in args],
        "keywords": {k: tensor(v) if torch.is_tensor(v) else plain(v) for k, v in rest.items()},
        "options": {key: plain(options[key]) for key in PUBLISHED if key in options},
    }


def record(torch, module, name, settings, args, kwargs):
    calls = []

    def override(func, *call_args, **call_kwargs):
        found = describe(torch, call_args, call_kwargs)
        if found not in calls:
            calls.append(found)
        return func(*call_args, **call_kwargs)

    options = {
        "optimized_attention_override": override,
        "sigmas": torch.tensor([0.7]),
        "sample_sigmas": torch.tensor([1.0, 0.7, 0.0]),
        "cond_or_uncond": [0],
    }
    model = build(torch, module, name, settings)
    with torch.no_grad():
        out = model(*args, transformer_options=options, **kwargs)
    assert all(math.isfinite(x.float().sum()) for x in (out if isinstance(out, list) else [out]))
    return calls


def main(comfyui):
    sys.argv = ["record_calls", "--cpu", "--use-pytorch-cross-attention"]
    sys.path[0] = str(Path(comfyui).resolve())
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfyui_version
    import torch

    torch.manual_seed(0)
    models = {}
    for name, *what in recordings(torch):
        models[name] = record(torch, *what)
        print(f"{name}: {len(models[name])} kinds of calls")
    found = {"comfyui": comfyui_version.__version__, "models": models}
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
