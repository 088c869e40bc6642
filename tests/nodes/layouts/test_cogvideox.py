"""CogVideoX: text tokens before the video; version 1.5 has patches of two frames."""

import dataclasses

from .. import zoo
from .basics import each
from .layout import Layout, check, covers

FAMILY = "CogVideoX, CogVideoX 1.5"
TEXT = {"text": (20, zoo.TEXT_WIDTH), "text_inside": True}
PATCH = {"1.0": (1, 2, 2), "1.5": (2, 2, 2)}
SMALL = {"1.0": Layout((16, 3, 8, 12), (3, 4, 6)), "1.5": Layout((16, 4, 8, 12), (2, 4, 6))}
ODD = {"1.0": Layout((16, 2, 9, 13), (2, 5, 7)), "1.5": Layout((16, 3, 9, 13), (2, 5, 7))}
LONG = {"1.0": Layout((16, 5, 8, 12), (3, 4, 6)), "1.5": Layout((16, 5, 8, 12), (2, 4, 6))}
THIN = {"1.0": Layout((16, 5, 2, 30), (5, 1, 15)), "1.5": Layout((16, 1, 2, 30), (1, 1, 15))}


def cases(feature, layouts):
    for version, layout in layouts.items():
        layout = dataclasses.replace(layout, before=20, patch=PATCH[version], **TEXT)
        yield covers(FAMILY, feature, layout, id=f"{version}, {feature}")


def cogvideox(layout, **settings):
    temporal = {"patch_size_t": 2} if layout.patch[0] == 2 else {}
    return zoo.cogvideox(**settings, **temporal)


@each(
    *cases("sparse & exact", SMALL),
    *cases("odd sizes", ODD),
    *cases("odd sizes", THIN),
    *cases("batch 3", SMALL),
    *cases("CFG split", SMALL),
    *cases("context windows", LONG),
)
def test_cogvideox(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, cogvideox(layout), layout, way)


@each(*cases("sparse & exact", SMALL))
def test_image_to_video(bench, monkeypatch, layout, way):
    """The image is in channels beside the latent's."""
    check(bench, monkeypatch, cogvideox(layout, in_channels=32), layout, way)
