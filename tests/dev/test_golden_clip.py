"""A clip of the shipped model with PSA: near the dense one, and what it was when it was stored.

    python3 dev.py test tests/dev/test_golden_clip.py --write-golden     after a meant change

The golden is made and checked on a CPU, in float32, by the torch reference.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from psa_kernels import PSAConfig
from psa_pack.tools import clip_metrics, demo
from psa_pack.tools.small_wan import conditions, shipping
from psa_pack.tools.small_wan.codec import Codec

GOLDEN = Path(__file__).with_name("golden") / "small_wan_psa.safetensors"
# 4 x 16 x 16 tokens: 8 blocks of 128; two of six steps are dense, and without guidance a step is
# one model call, since all of CI waits for this clip
SHAPE = (1, 16, 4, 32, 32)
STEPS, WARMUP, CFG, SEED = 6, 2, 1.0, 11
# a room that turns: much moves in few frames
PROMPT = "camera orbiting left, tiles room carpet floor, robot resting, football bouncing"
# not a shipped preset: their shares may change with what is measured, this must not
CONFIG = {
    "block_m": 128, "block_n": 128, "tail": 16, "second_moment": True, "mask_mode": "topk",
    "mask_ratios": {1: (0.0, 0.34), 8: (0.34, 0.67), 0: (0.67, 1.0)}, "warmup_steps": WARMUP,
    "rearrange_method": "Gilbert", "grouping": "similar", "refresh": 4,
}  # fmt: skip
# 26.8 dB when the golden was stored (its metadata); 3 dB are left for other machines. The clip's
# own mirror image has 13.0 dB.
PSNR_FLOOR = 23.8
# So short a clip has 26.6 dB even where it plays backwards. What changes from frame to frame tells:
# 0.37 of it differed when the golden was stored; backwards, 1.6.
TEMPORAL_CEILING = 0.55
# The reference is deterministic; other CPUs and torch versions round differently, and where two
# blocks are about equally important a rounding decides which of them is read.
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def clip(comfy_inproc):
    """dense and psa: latents as KSampler returns them."""
    demo.check_example(demo.EXAMPLE)
    comfy_inproc.load_pack()
    import comfy.sd

    from psa_pack.nodes.patching.apply import apply_psa
    from psa_pack.nodes.patching.run import PatchOptions
    from psa_pack.nodes.preset_value import PresetValue

    # ComfyUIs differ in how they compute with fp8 weights, which is not what the golden is about
    weights = shipping.plain(load_file(demo.EXAMPLE / demo.MODEL))
    model = comfy.sd.load_diffusion_model_state_dict(
        {name: weight.float() for name, weight in weights.items()}
    )
    reports = []
    preset = PresetValue(PSAConfig(**CONFIG))
    patched = apply_psa(model, preset, PatchOptions(), reports.append)
    latents = {
        name: comfy_inproc.ksampler(
            what,
            positive=[[conditions.context(PROMPT), {}]],
            negative=[[conditions.context(""), {}]],
            latent=torch.zeros(SHAPE), seed=SEED, steps=STEPS, cfg=CFG,
        )
        for name, what in (("dense", model), ("psa", patched))
    }  # fmt: skip
    (report,) = reports
    assert report["failure"] is None
    assert report["plan"] == ["dense"] * WARMUP + ["sparse"] * (STEPS - WARMUP)
    return latents


def compared(clip) -> dict[str, float]:
    codec = Codec.load(demo.CODEC)
    dense, psa = (demo.frames_of(codec, clip[name]) for name in ("dense", "psa"))
    return clip_metrics.compare_frames(dense, psa)


def model_digest() -> str:
    return hashlib.sha256((demo.EXAMPLE / demo.MODEL).read_bytes()).hexdigest()


def test_psa_stays_near_dense(clip):
    assert not torch.equal(clip["dense"], clip["psa"])
    found = compared(clip)
    assert found["psnr"] > PSNR_FLOOR
    assert found["temporal"] < TEMPORAL_CEILING


def test_psa_is_what_it_was(clip, request):
    if request.config.getoption("--write-golden"):
        write(clip)
    assert GOLDEN.is_file(), f"{GOLDEN} is not there: run this file with --write-golden"
    with safe_open(GOLDEN, "pt") as file:
        made_with, golden = json.loads(file.metadata()["made_with"]), file.get_tensor("latent")
    assert made_with["model"] == model_digest(), "the golden belongs to another model"
    difference = (clip["psa"] - golden.float()).norm() / golden.float().norm()
    assert difference < TOLERANCE


def write(clip) -> None:
    GOLDEN.parent.mkdir(exist_ok=True)
    made_with = {
        "model": model_digest(),
        "torch": torch.__version__,
        "compared": {name: round(value, 3) for name, value in compared(clip).items()},
        "prompt": PROMPT,
        "config": PSAConfig(**CONFIG).to_preset(),
    }
    # half precision rounds by 2^-11, far below the tolerance
    tensors = {"latent": clip["psa"].half().contiguous()}
    save_file(tensors, GOLDEN, metadata={"made_with": json.dumps(made_with)})
    GOLDEN.chmod(0o644)
