"""HunyuanVideo 1.0 and 1.5, HunyuanImage: text and video in one sequence."""

import dataclasses
import types

import pytest

from .. import zoo
from ..zoo import noise
from .basics import basics, each, named, windows
from .configured import configured, parameters
from .layout import Layout, check, covers

SETTINGS = {
    "in_channels": 16, "out_channels": 16, "vec_in_dim": 64, "context_in_dim": zoo.TEXT_WIDTH,
    "hidden_size": 128, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1,
    "axes_dim": [16, 24, 24], "theta": 256, "patch_size": [1, 2, 2], "qkv_bias": True,
    "guidance_embed": True, "byt5": False, "meanflow": False, "use_cond_type_embedding": False,
    "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
VERSION_1_5 = {
    "in_channels": 65, "out_channels": 32, "patch_size": [1, 1, 1], "vec_in_dim": None,
    "guidance_embed": False, "byt5": True, "use_cond_type_embedding": True, "vision_in_dim": 48,
}  # fmt: skip
IMAGE_2_1 = {
    "in_channels": 64, "out_channels": 64, "patch_size": [1, 1], "axes_dim": [32, 32],
    "vec_in_dim": None, "byt5": True,
}  # fmt: skip
ONE, NEXT, STILL = "HunyuanVideo", "HunyuanVideo 1.5", "HunyuanImage 2.1"
# family -> class in supported_models, settings
KINDS = {
    ONE: ("HunyuanVideo", {}),
    NEXT: ("HunyuanVideo15", VERSION_1_5),
    STILL: ("HunyuanImage21", IMAGE_2_1),
}
POOLED = {"pooled_output": noise(1, 64)}
GLYPHS = {"conditioning_byt5small": noise(1, 6, 1472, seed=1)}
SEEN = {"clip_vision_output": types.SimpleNamespace(last_hidden_state=noise(1, 9, 48, seed=2))}
IMAGE = {"concat_latent_image": noise(1, 16, 3, 8, 12, seed=3)}
REFERENCE = {"ref_latent": noise(1, 16, 1, 8, 12, seed=4)}
REFERENCE_TOKENS = 24
# with these the model runs prompt and negative prompt apart, in every version
ALONE = {"cfg": 1.0}


def hunyuan(kind="HunyuanVideo", **changes):
    module = "comfy.ldm.hunyuan_video.model"
    known = parameters(module, "HunyuanVideoParams", SETTINGS | changes)
    return configured(kind, image_model="hunyuan_video", **known)


def layout(latent, grid, *conditions, more_text=0, **settings):
    """`more_text`: tokens beside the prompt's 20."""
    together = {name: value for part in (POOLED, *conditions) for name, value in part.items()}
    reference = REFERENCE_TOKENS if "ref_latent" in together else 0
    return Layout(
        latent, grid, before=20 + more_text + reference, text=(20, zoo.TEXT_WIDTH),
        text_inside=True, conditions=together,
        dense=("not the video's tokens",),  # the text refiner's two blocks
        **settings,
    )  # fmt: skip


def placed(model, layout):
    """The layout: ComfyUI put the text last until its single-stream blocks had `img_slice`."""
    if zoo.takes(model, "img_slice"):
        return layout
    first = REFERENCE_TOKENS if "ref_latent" in layout.conditions else 0
    return dataclasses.replace(layout, before=first, after=layout.before - first)


def version_1_5(latent, grid, *conditions, **settings):
    return layout(latent, grid, *conditions, patch=(1, 1, 1), **settings)


def image_2_1(latent, grid):
    return layout(latent, grid, GLYPHS, more_text=6, patch=(1, 1, 1))


SMALL = (16, 3, 8, 12), (3, 4, 6)
ODD = (32, 3, 5, 7), (3, 5, 7)
IMAGE_CASE = image_2_1((64, 9, 11), (1, 9, 11))
ODD_SIZES = {
    "one frame": layout((16, 1, 12, 20), (1, 6, 10)),
    "1 x N": layout((16, 3, 2, 40), (3, 1, 20)),
}
ODD_1_5 = {
    "one frame": version_1_5((32, 1, 9, 10), (1, 9, 10)),
    "1 x N": version_1_5((32, 4, 1, 25), (4, 1, 25)),
}
MORE_TEXT = {
    "glyphs": version_1_5(*ODD, GLYPHS, more_text=6),
    "seen": version_1_5(*ODD, GLYPHS, SEEN, more_text=15),
}


@each(
    *basics(ONE, layout(*SMALL)),
    *named(ONE, "odd sizes", ODD_SIZES),
    *windows(ONE, layout(*SMALL)),
    covers(ONE, "references", layout(*SMALL, REFERENCE, options=ALONE)),
    *basics(NEXT, version_1_5(*ODD)),
    *named(NEXT, "odd sizes", ODD_1_5),
    # a latent beside the video, of as many frames
    *windows(NEXT, version_1_5(*ODD, whole_video=True)),
    *named(NEXT, "references", MORE_TEXT),
    *basics(STILL, IMAGE_CASE),
    covers(STILL, "odd sizes", image_2_1((64, 1, 75), (1, 1, 75))),
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # ComfyUI indexes with a list
def test_hunyuan(bench, monkeypatch, layout, way):
    kind, settings = KINDS[layout.family]
    model = hunyuan(kind, **settings)
    check(bench, monkeypatch, model, placed(model, layout), way)


@pytest.mark.parametrize(
    ("kind", "channels", "image"),
    [
        ("HunyuanVideoSkyreelsI2V", 32, layout(*SMALL, IMAGE)),
        # the first frame is replaced
        ("HunyuanVideoI2V", 33, layout(*SMALL, IMAGE, {"guiding_frame_index": 0}, options=ALONE)),
    ],
)
def test_image_to_video(bench, monkeypatch, kind, channels, image):
    model = hunyuan(kind, in_channels=channels)
    check(bench, monkeypatch, model, placed(model, image))


def test_single_stream_blocks_are_numbered_on(bench):
    """`dense_blocks` 0 is the first double-stream block and no other."""
    model = hunyuan(depth=1, depth_single_blocks=2)
    sample = {"text_tokens": (20, 20), "text_width": zoo.TEXT_WIDTH, "conditions": POOLED}
    for dense in (0, 1, 2):
        patched = bench.patch(model=model, dense_blocks=frozenset([dense]))
        bench.sample(patched, shape=(1, 16, 3, 8, 12), steps=2, **sample)
        assert bench.report["calls"]["sparse"] == 4
        assert bench.report["calls"]["dense"]["dense block"] == 2
