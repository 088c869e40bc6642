"""HunyuanVideo 1.0 and 1.5, HunyuanImage: text and video in one sequence."""

import dataclasses
import types

import pytest

from .. import zoo
from ..zoo import noise
from .basics import each, windows
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
POOLED = {"pooled_output": noise(1, 64)}
GLYPHS = {"conditioning_byt5small": noise(1, 6, 1472, seed=1)}
SEEN = {"clip_vision_output": types.SimpleNamespace(last_hidden_state=noise(1, 9, 48, seed=2))}
IMAGE = {"concat_latent_image": noise(1, 16, 3, 8, 12, seed=3)}
REFERENCE = {"ref_latent": noise(1, 16, 1, 8, 12, seed=4)}
# Of these the model itself makes one condition at a time, whatever the version.
ALONE = {"cfg": 1.0}


def hunyuan(kind="HunyuanVideo", **changes):
    module = "comfy.ldm.hunyuan_video.model"
    known = parameters(module, "HunyuanVideoParams", SETTINGS | changes)
    return configured(kind, image_model="hunyuan_video", **known)


@dataclasses.dataclass(frozen=True)
class Case:
    """`more_text`: tokens beside the prompt's 20; `reference`: tokens of a reference."""

    layout: Layout
    kind: str = "HunyuanVideo"
    model: dict = dataclasses.field(default_factory=dict)
    more_text: int = 0
    reference: int = 0

    def placed(self, model):
        """The layout: ComfyUI put the text last until its single-stream blocks had `img_slice`."""
        text = self.layout.text[0] + self.more_text
        first = (text + self.reference, 0), (self.reference, text)
        before, after = first[0 if zoo.takes(model, "img_slice") else 1]
        return dataclasses.replace(self.layout, before=before, after=after)


def layout(latent, grid, *conditions, **settings):
    together = {name: value for part in (POOLED, *conditions) for name, value in part.items()}
    text = {"text": (20, zoo.TEXT_WIDTH), "text_inside": True}
    return Layout(latent, grid, conditions=together, **text, **settings)


def version_1_5(latent, grid, *conditions, more_text=0):
    at = layout(latent, grid, *conditions, patch=(1, 1, 1))
    return Case(at, "HunyuanVideo15", VERSION_1_5, more_text)


def image_2_1(latent, grid):
    return Case(layout(latent, grid, GLYPHS, patch=(1, 1, 1)), "HunyuanImage21", IMAGE_2_1, 6)


SMALL = (16, 3, 8, 12), (3, 4, 6)
ODD = (32, 3, 5, 7), (3, 5, 7)
ONE, NEXT, STILL = "HunyuanVideo", "HunyuanVideo 1.5", "HunyuanImage 2.1"
PLAIN = Case(layout(*SMALL))
BESIDE = Case(layout(*SMALL, IMAGE), "HunyuanVideoSkyreelsI2V", {"in_channels": 32})
REPLACED = Case(
    layout(*SMALL, IMAGE, {"guiding_frame_index": 0}, options=ALONE),
    "HunyuanVideoI2V", {"in_channels": 33},
)  # fmt: skip
REFERRED = Case(layout(*SMALL, REFERENCE, options=ALONE), reference=24)
IMAGE_CASE = image_2_1((64, 9, 11), (1, 9, 11))


@pytest.mark.parametrize(
    ("case", "way"),
    [
        covers(ONE, "sparse & exact", PLAIN),
        covers(ONE, "sparse & exact", BESIDE, id="1.0, image beside"),
        covers(ONE, "sparse & exact", REPLACED, id="1.0, first frame replaced"),
        covers(ONE, "odd sizes", Case(layout((16, 1, 12, 20), (1, 6, 10))), id="1.0, one frame"),
        covers(ONE, "odd sizes", Case(layout((16, 3, 2, 40), (3, 1, 20))), id="1.0, 1 x N"),
        covers(ONE, "batch 3", PLAIN),
        covers(ONE, "CFG split", PLAIN),
        covers(ONE, "references", REFERRED),
        covers(NEXT, "sparse & exact", version_1_5(*ODD)),
        covers(NEXT, "odd sizes", version_1_5(*ODD)),
        covers(NEXT, "odd sizes", version_1_5((32, 1, 9, 10), (1, 9, 10)), id="1.5, one frame"),
        covers(NEXT, "odd sizes", version_1_5((32, 4, 1, 25), (4, 1, 25)), id="1.5, 1 x N"),
        covers(NEXT, "batch 3", version_1_5(*ODD)),
        covers(NEXT, "CFG split", version_1_5(*ODD)),
        covers(NEXT, "references", version_1_5(*ODD, GLYPHS, more_text=6), id="1.5, glyphs"),
        covers(NEXT, "references", version_1_5(*ODD, GLYPHS, SEEN, more_text=15), id="1.5, seen"),
        covers(STILL, "sparse & exact", IMAGE_CASE),
        covers(STILL, "odd sizes", IMAGE_CASE),
        covers(STILL, "odd sizes", image_2_1((64, 1, 75), (1, 1, 75)), id="Image 2.1, 1 x N"),
        covers(STILL, "batch 3", IMAGE_CASE),
        covers(STILL, "CFG split", IMAGE_CASE),
    ],
)
def test_hunyuan(bench, monkeypatch, case, way):
    model = hunyuan(case.kind, **case.model)
    check(bench, monkeypatch, model, case.placed(model), way)
    # the text refiner's two blocks
    assert set(bench.report["calls"]["dense"]) == {"not the video's tokens"}


@each(*windows(ONE, layout(*SMALL)))
def test_windows(bench, monkeypatch, layout, way):
    model = hunyuan()
    check(bench, monkeypatch, model, Case(layout).placed(model), way)


# a latent beside the video, of as many frames
@each(*windows(NEXT, dataclasses.replace(version_1_5(*ODD).layout, whole_video=True)))
@pytest.mark.filterwarnings("ignore::UserWarning")  # ComfyUI indexes with a list
def test_windows_1_5(bench, monkeypatch, layout, way):
    model = hunyuan("HunyuanVideo15", **VERSION_1_5)
    check(bench, monkeypatch, model, Case(layout).placed(model), way)


def test_single_stream_blocks_are_numbered_on(bench):
    """`dense_blocks` 0 is the first double-stream block and no other."""
    model = hunyuan(depth=1, depth_single_blocks=2)
    sample = {"text_tokens": (20, 20), "text_width": zoo.TEXT_WIDTH, "conditions": POOLED}
    for dense in (0, 1, 2):
        patched = bench.patch(model=model, dense_blocks=frozenset([dense]))
        bench.sample(patched, shape=(1, 16, 3, 8, 12), steps=2, **sample)
        assert bench.report["calls"]["sparse"] == 4
        assert bench.report["calls"]["dense"]["dense block"] == 2
