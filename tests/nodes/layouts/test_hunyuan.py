"""HunyuanVideo 1.0 and 1.5, HunyuanImage: text and video in one sequence."""

import dataclasses
import types

import pytest

from .. import zoo
from ..zoo import noise
from .configured import configured, parameters
from .layout_check import WAYS, Case, check, check_results

TEXT_WIDTH = 64
SETTINGS = {
    "in_channels": 16, "out_channels": 16, "vec_in_dim": 64, "context_in_dim": TEXT_WIDTH,
    "hidden_size": 128, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1,
    "axes_dim": [16, 24, 24], "theta": 256, "patch_size": [1, 2, 2], "qkv_bias": True,
    "guidance_embed": True, "byt5": False, "meanflow": False, "use_cond_type_embedding": False,
    "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
VERSION_1_5 = {
    "in_channels": 65, "out_channels": 32, "patch_size": [1, 1, 1], "vec_in_dim": None,
    "guidance_embed": False, "byt5": True, "use_cond_type_embedding": True, "vision_in_dim": 48,
}  # fmt: skip
POOLED = {"pooled_output": noise(1, 64)}
GLYPHS = {"conditioning_byt5small": noise(1, 6, 1472, seed=1)}
SEEN = {"clip_vision_output": types.SimpleNamespace(last_hidden_state=noise(1, 9, 48, seed=2))}
IMAGE = {"concat_latent_image": noise(1, 16, 3, 8, 12, seed=3)}
REFERENCE = {"ref_latent": noise(1, 16, 1, 8, 12, seed=4)}


def hunyuan(kind="HunyuanVideo", **changes):
    module = "comfy.ldm.hunyuan_video.model"
    return configured(
        kind, image_model="hunyuan_video",
        **parameters(module, "HunyuanVideoParams", SETTINGS | changes),
    )  # fmt: skip


def placed(model, text, reference=0):
    """(before, after) the video: ComfyUI put text last until it had `img_slice`."""
    order = zoo.takes(model, "img_slice")
    return (text + reference, 0) if order else (reference, text)


# name -> (class in supported_models, case, text tokens beside the prompt's, reference tokens)
CASES = {
    "1.0": ("HunyuanVideo", Case((16, 3, 8, 12), (3, 4, 6), conditions=POOLED), 0, 0),
    "1.0, one frame": ("HunyuanVideo", Case((16, 1, 12, 20), (1, 6, 10), conditions=POOLED), 0, 0),
    "1.0, one row": ("HunyuanVideo", Case((16, 3, 2, 40), (3, 1, 20), conditions=POOLED), 0, 0),
    "1.0, image beside": (
        "HunyuanVideoSkyreelsI2V",
        Case(
            (16, 3, 8, 12), (3, 4, 6), model={"in_channels": 32}, conditions={**POOLED, **IMAGE}
        ), 0, 0,
    ),
    # The next two: with two conditions in one call versions of the model itself fail.
    "1.0, first frame replaced": (
        "HunyuanVideoI2V",
        Case(
            (16, 3, 8, 12), (3, 4, 6), model={"in_channels": 33}, cfg=1.0,
            conditions={**POOLED, **IMAGE, "guiding_frame_index": 0},
        ), 0, 0,
    ),
    "1.0, reference": (
        "HunyuanVideo",
        Case((16, 3, 8, 12), (3, 4, 6), cfg=1.0, conditions={**POOLED, **REFERENCE}),
        0, 24,
    ),
    "1.5": (
        "HunyuanVideo15",
        Case((32, 3, 5, 7), (3, 5, 7), patch=(1, 1, 1), model=VERSION_1_5, conditions=POOLED),
        0, 0,
    ),
    "1.5, glyphs": (
        "HunyuanVideo15",
        Case(
            (32, 3, 5, 7), (3, 5, 7), patch=(1, 1, 1), model=VERSION_1_5,
            conditions={**POOLED, **GLYPHS},
        ), 6, 0,
    ),
    "1.5, glyphs and an image seen": (
        "HunyuanVideo15",
        Case(
            (32, 3, 5, 7), (3, 5, 7), patch=(1, 1, 1), model=VERSION_1_5,
            conditions={**POOLED, **GLYPHS, **SEEN},
        ), 15, 0,
    ),
    "Image 2.1": (
        "HunyuanImage21",
        Case(
            (64, 9, 11), (1, 9, 11), patch=(1, 1, 1), conditions=GLYPHS,
            model={
                "in_channels": 64, "out_channels": 64, "patch_size": [1, 1], "axes_dim": [32, 32],
                "vec_in_dim": None, "byt5": True,
            },
        ), 6, 0,
    ),
}  # fmt: skip


@pytest.fixture
def bench(comfy_inproc, one_thread):
    return zoo.ZooBench()


@pytest.mark.parametrize("name", CASES)
def test_hunyuan(bench, monkeypatch, name):
    kind, case, more_text, reference = CASES[name]
    model = hunyuan(kind, **case.model)
    before, after = placed(model, case.text + more_text, reference)
    case = dataclasses.replace(case, before=before, after=after)
    check(bench, monkeypatch, model, case, TEXT_WIDTH, blocks=2)
    # the text refiner's two blocks
    assert set(bench.report["calls"]["dense"]) == {"not the video's tokens"}


@pytest.mark.parametrize("way", WAYS)
def test_hunyuan_however_it_is_called(bench, monkeypatch, way):
    case = CASES["1.0"][1]
    check_results(bench, monkeypatch, hunyuan(), case, TEXT_WIDTH, blocks=2, **WAYS[way])
