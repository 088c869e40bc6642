"""The FLOPs of each family's model, against ComfyUI's real class of its published size.

Weights and activations take no memory (device "meta"); torch's own counter counts.
"""

import importlib
import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[2]
META = {"device": "meta", "dtype": torch.bfloat16}


@pytest.fixture(autouse=True)
def _comfyui(comfy_inproc):
    """nodes/ is importable."""


def empty(*shape):
    return torch.empty(*shape, **META)


def counted(call, length, blocks):
    """(FLOPs of self-attention over `length` tokens, FLOPs of the blocks) of one model call."""

    def plain(x):
        return x if torch.is_tensor(x) else x.tensor

    def attention(func, q, k, v, heads, *args, **options):
        before = counter.get_total_flops()
        q, k, v = map(plain, (q, k, v))
        if not options.get("skip_reshape"):
            q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        out = torch.softmax(q @ k.transpose(-1, -2), -1) @ v
        if q.shape[2] == k.shape[2] == length:
            own.append(counter.get_total_flops() - before)
        return out if options.get("skip_output_reshape") else out.transpose(1, 2).flatten(2)

    own = []
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call({"optimized_attention_override": attention})
    inside = re.compile(rf"\w+\.({blocks})\.\d+")
    return sum(own), sum(
        sum(flops.values())
        for name, flops in counter.get_flop_counts().items()
        if inside.fullmatch(name)
    )


def built(module, name, **settings):
    import comfy.ops

    try:
        kind = getattr(importlib.import_module(f"comfy.ldm.{module}"), name)
    except ImportError:
        pytest.skip(f"this ComfyUI has no {name}")
    return kind(operations=comfy.ops.disable_weight_init, **META, **settings)


def check(family, grid, text, model, *inputs, blocks="blocks", rel=1e-9, **options):
    """`rel`: blocks turn the time into scales and shifts too, which is not counted."""
    from psa_pack.nodes.estimate.density import Tokens
    from psa_pack.nodes.estimate.models import MODELS

    length = Tokens(grid, text).total

    def call(transformer_options):
        return model(*inputs, transformer_options=transformer_options, **options)

    own, every = counted(call, length, blocks)
    attention, rest = MODELS[family].flops(length)
    assert own == attention > 0
    assert attention + rest == pytest.approx(every, rel=rel)


@pytest.mark.parametrize(
    ("family", "settings", "grid"),
    [
        ("Wan2.1_14b", {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40},
         (21, 45, 80)),
        ("Wan2.1_1.3b", {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30},
         (21, 30, 52)),
        ("Wan2.2_5B", {"dim": 3072, "ffn_dim": 14336, "num_heads": 24, "num_layers": 30,
                       "in_dim": 48, "out_dim": 48}, (11, 22, 40)),
        ("Small_Wan", {"dim": 512, "ffn_dim": 1536, "num_heads": 4, "num_layers": 8}, (8, 32, 32)),
    ],
)  # fmt: skip
def test_wan(family, settings, grid):
    from psa_pack.nodes.estimate.models import MODELS

    frames, height, width = grid
    model = built("wan.model", "WanModel", **settings)
    video = empty(1, settings.get("in_dim", 16), frames, 2 * height, 2 * width)
    check(family, grid, 0, model, video, empty(1), empty(1, MODELS[family].cross, 4096))


def test_cogvideox():
    model = built(
        "cogvideo.model", "CogVideoXTransformer3DModel", num_attention_heads=48, num_layers=42,
        use_rotary_positional_embeddings=True,
    )  # fmt: skip
    inputs = empty(1, 16, 13, 60, 90), empty(1), empty(1, 226, 4096)
    check("CogVideo_5b", (13, 30, 45), 226, model, *inputs, rel=1e-4)


def test_kandinsky_5_lite():
    model = built("kandinsky5.model", "Kandinsky5")  # its defaults are lite's
    inputs = empty(1, 33, 31, 64, 96), empty(1), empty(1, 256, 3584), empty(1, 768)
    blocks = "visual_transformer_blocks"
    check("Kandinsky5", (31, 32, 48), 0, model, *inputs, blocks=blocks, rel=1e-4)


def test_ltx_2():
    """97 frames at 25 a second: the 97 tokens of sound are not counted."""
    model = built("lightricks.av_model", "LTXAVModel")  # its defaults are the 19B model's
    both = [empty(1, 128, 13, 16, 24), empty(1, 8, 97, 16)]
    inputs = both, empty(1), empty(1, 1024, 7680), None
    check("LTX-2", (13, 16, 24), 0, model, *inputs, blocks="transformer_blocks", rel=2e-2)


def test_minimax_h3():
    """100 tokens of text and 74 of sound are in the sequence."""
    model = built("minimax.model", "MiniMaxH3Model")
    inputs = [empty(1, 24, 7, 16, 24), empty(1, 32, 2, 37)], torch.ones(1), empty(1, 100, 5376)
    check("MiniMax-H3", (7, 8, 12), 174, model, *inputs, rel=2e-3)


def test_ltx_video_13b():
    model = built("lightricks.model", "LTXVModel", attention_head_dim=128, num_layers=48,
                  cross_attention_dim=4096)  # fmt: skip
    inputs = empty(1, 128, 13, 16, 24), empty(1), empty(1, 128, 4096), None
    check("LTX-Video", (13, 16, 24), 0, model, *inputs, blocks="transformer_blocks")


def test_cosmos_predict2_14b():
    """Its text is 1024 wide, where text as wide as the video is counted."""
    model = built(
        "cosmos.predict2", "MiniTrainDIT", max_img_h=240, max_img_w=240, max_frames=128,
        in_channels=16, out_channels=16, patch_spatial=2, patch_temporal=1, num_blocks=36,
        concat_padding_mask=True, model_channels=5120, num_heads=40, crossattn_emb_channels=1024,
        pos_emb_cls="rope3d", use_adaln_lora=True, adaln_lora_dim=256,
    )  # fmt: skip
    inputs = empty(1, 16, 5, 64, 96), empty(1, 5), empty(1, 512, 1024)
    check("Cosmos-Predict2", (5, 32, 48), 0, model, *inputs, rel=1e-2)


def test_qwen_image():
    model = built("qwen_image.model", "QwenImageTransformer2DModel")
    inputs = empty(1, 16, 1, 128, 128), empty(1), empty(1, 100, 3584)
    check("Qwen-Image", (1, 64, 64), 100, model, *inputs, attention_mask=None,
          blocks="transformer_blocks", rel=1e-3)  # fmt: skip


def test_mochi():
    """Its text's blocks are half as wide, which is not counted."""
    model = built(
        "genmo.joint_model.asymm_models_joint", "AsymmDiTJoint", patch_size=2, in_channels=12,
        hidden_size_x=3072, hidden_size_y=1536, mlp_ratio_x=4.0, mlp_ratio_y=4.0, depth=48,
        num_heads=24, t5_feat_dim=4096, t5_token_length=256, use_t5=True, qk_norm=True,
        qkv_bias=False, learn_sigma=False,
    )  # fmt: skip
    text = torch.ones(1, 256, dtype=torch.bool, device="meta")
    inputs = empty(1, 12, 7, 60, 106), empty(1), empty(1, 256, 4096), text
    check("Mochi", (7, 30, 53), 256, model, *inputs, num_tokens=256, rel=2e-2)


# the fields of a Params class
IN_SEQUENCE = {"vec_in_dim": 768, "context_in_dim": 4096, "mlp_ratio": 4.0, "qkv_bias": True,
               "hidden_size": 3072, "num_heads": 24, "axes_dim": [16, 56, 56],
               "theta": 256}  # fmt: skip
HUNYUAN = {**IN_SEQUENCE, "in_channels": 16, "out_channels": 16, "patch_size": [1, 2, 2],
           "byt5": False, "meanflow": False, "use_cond_type_embedding": False,
           "vision_in_dim": None, "meanflow_sum": False}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "module", "name", "settings", "inputs"),
    [
        ("HunyuanVideo", "hunyuan_video.model", "HunyuanVideo",
         {**HUNYUAN, "depth": 20, "depth_single_blocks": 40, "guidance_embed": True},
         ((16, 5, 32, 48), 256)),
        ("HunyuanVideo1.5", "hunyuan_video.model", "HunyuanVideo",
         {**HUNYUAN, "hidden_size": 2048, "num_heads": 16, "depth": 54, "depth_single_blocks": 0,
          "guidance_embed": False, "vec_in_dim": None}, ((16, 5, 32, 48), 256)),
        ("Flux", "flux.model", "Flux",
         {**IN_SEQUENCE, "in_channels": 16, "out_channels": 16, "patch_size": 2, "depth": 19,
          "depth_single_blocks": 38, "guidance_embed": True, "txt_ids_dims": []},
         ((16, 128, 128), 256)),
    ],
)  # fmt: skip
def test_text_in_the_sequence(family, module, name, settings, inputs):
    shape, text = inputs
    params = getattr(importlib.import_module(f"comfy.ldm.{module}"), f"{name}Params")
    known = params.__dataclass_fields__  # older versions have fewer
    model = built(module, name, **{key: x for key, x in settings.items() if key in known})
    grid = (shape[1] if len(shape) > 3 else 1, shape[-2] // 2, shape[-1] // 2)
    check(family, grid, text, model, empty(1, *shape), empty(1), empty(1, text, 4096),
          y=empty(1, 768), guidance=empty(1),
          blocks="double_blocks|single_blocks", rel=1e-3)  # fmt: skip


@pytest.mark.parametrize(
    ("family", "module", "node", "patch", "more"),
    [
        ("Kandinsky5", "nodes_kandinsky5", "Kandinsky5ImageToVideo", 2,
         {"positive": [], "negative": [], "vae": None, "batch_size": 1}),
        ("LTX-2", "nodes_lt", "EmptyLTXVLatentVideo", 1, {}),
        ("MiniMax-H3", "nodes_minimax_h3", "EmptyMiniMaxH3LatentAV", 2, {}),
        ("HunyuanVideo", "nodes_hunyuan", "EmptyHunyuanLatentVideo", 2, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("length", [5, 22, 73, 124, 362])
def test_a_video_has_as_many_tokens_as_comfyuis_own_latent(
    family, module, node, patch, more, length
):
    from psa_pack.presets.store import PresetStore

    module = pytest.importorskip(f"comfy_extras.{module}")
    if not hasattr(module, node):
        pytest.skip(f"this ComfyUI has no {node}")
    store = PresetStore(ROOT / "presets", ROOT / ".dev" / "no-user-presets")
    out = getattr(module, node).execute(width=1344, height=768, length=length, **more)
    latent = next(x for x in out.args if isinstance(x, dict))["samples"]
    video = latent.unbind()[0] if latent.is_nested else latent
    *_, frames, height, width = video.shape
    grid = store.get_family(family).video_scale.grid(1344, 768, length)
    if family != "MiniMax-H3":  # nodes of the others leave out a rest of frames
        frames += (length - 1) % (8 if family == "LTX-2" else 4) > 0
    assert grid == (frames, height // patch, width // patch)
