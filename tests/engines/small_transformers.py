"""Models of transformers with tiny random weights, and prompts with a video for them."""

import torch
import transformers

from psa_kernels import PSAConfig

LAYERS = 2
IMAGE, VIDEO, START, END, PAD = 150, 151, 152, 153, 2
GRID = (8, 8, 12)  # of the video's tokens: 768, six blocks
TEXT = (4, 5)  # tokens before the video and after it
CAUSAL = {"attn_impl": "old_mask_type", "block_n": 128}
ONE_RUN = ("qwen2.5-vl", "qwen2-vl", "llava-onevision")  # whose video's tokens are in one run


def everything(**more):
    return PSAConfig(mask_ratios={1: (0.0, 1.0)}, **CAUSAL, **more)


def little(**more):
    return PSAConfig(mask_ratios={1: (0.0, 0.3), 4: (0.3, 0.6), 0: (0.6, 1.0)}, **CAUSAL, **more)


_TEXT_CONFIG = {
    "vocab_size": 160, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": PAD,
}  # fmt: skip
_ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
_TOKENS = {
    "image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": START,
    "vision_end_token_id": END,
}  # fmt: skip


_VISION = {
    "depth": 1, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2,
}  # fmt: skip


def qwen(kind, vision, text):
    config = getattr(transformers, f"{kind}Config")(
        text_config=_TEXT_CONFIG | {"rope_parameters": _ROPE} | text,
        vision_config=_VISION | vision, **_TOKENS,
    )  # fmt: skip
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config)


def qwen2_5_vl(**text):
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "out_hidden_size": 64, "window_size": 32,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    return qwen("Qwen2_5_VL", vision, text)


def qwen2_vl():
    return qwen("Qwen2VL", {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 1}, {})


def qwen3_vl():
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "out_hidden_size": 64,
        "num_position_embeddings": 256, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    return qwen("Qwen3VL", vision, {"head_dim": 16})


def llava_onevision():
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 4,
        "vision_use_head": False,
    }  # fmt: skip
    return transformers.LlavaOnevisionForConditionalGeneration(transformers.LlavaOnevisionConfig(
        text_config=_TEXT_CONFIG | {"model_type": "qwen2"}, vision_config=vision,
        image_token_id=IMAGE, video_token_id=VIDEO,
    ))  # fmt: skip


MAKERS = {"qwen2.5-vl": qwen2_5_vl, "qwen2-vl": qwen2_vl, "llava-onevision": llava_onevision,
          "qwen3-vl": qwen3_vl}  # fmt: skip


def made(name="qwen2.5-vl", seed=0, **more):
    torch.manual_seed(seed)
    return MAKERS[name](**more).eval().requires_grad_(False)


def prompt(name="qwen2.5-vl", seed=1, batch=1, videos=1):
    """Inputs of `batch` prompts of the same layout, each with its own videos between its text."""
    random = torch.Generator().manual_seed(seed)
    frames, height, width = GRID
    count, video = frames * height * width, None
    if name == "llava-onevision":
        # 8 x 8 patches of a frame, pooled to 4 x 4, and one token more at the end
        video = torch.randn(batch, 40, 3, 32, 32, generator=random)
        count = 40 * 16 + 1
    placeholders = [VIDEO] * count
    if name == "qwen3-vl":  # with a time before each frame
        placeholders = ([7, START] + [VIDEO] * (height * width) + [END]) * frames
    row = [5, 6, 7, START, *([*placeholders, END] * videos), 8, 9, 10, 11]
    ids = torch.tensor([row] * batch)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if video is not None:
        return inputs | {"pixel_values_videos": video}
    patches = frames * height * width * 4 * batch * videos
    return inputs | {
        "pixel_values_videos": torch.randn(patches, 3 * 2 * 4 * 4, generator=random),
        "video_grid_thw": torch.tensor([[frames, 2 * height, 2 * width]] * batch * videos),
        "mm_token_type_ids": (ids == VIDEO).int() * 2,
    }  # fmt: skip


def answered(model, inputs, tokens=4, **more):
    """(tokens of the answer, its logits) by greedy generation."""
    out = model.generate(
        **inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False,
        return_dict_in_generate=True, output_logits=True, **more,
    )  # fmt: skip
    return out.sequences[:, inputs["input_ids"].shape[1] :], torch.stack(out.logits)


def same(answer, expected):
    return all(torch.equal(a, b) for a, b in zip(answer, expected, strict=True))
