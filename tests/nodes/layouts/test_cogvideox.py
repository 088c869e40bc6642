"""CogVideoX: text tokens before the video; version 1.5 has patches of two frames."""

import dataclasses

import pytest

from .. import zoo
from .layout import Layout, check, covers

FAMILY = "CogVideoX, CogVideoX 1.5"
TEXT = {"text": (20, zoo.TEXT_WIDTH), "text_inside": True}
PATCH = {"1.0": (1, 2, 2), "1.5": (2, 2, 2)}
SMALL = {"1.0": Layout((16, 3, 8, 12), (3, 4, 6)), "1.5": Layout((16, 4, 8, 12), (2, 4, 6))}
ODD = {"1.0": Layout((16, 2, 9, 13), (2, 5, 7)), "1.5": Layout((16, 3, 9, 13), (2, 5, 7))}
LONG = {"1.0": Layout((16, 5, 8, 12), (3, 4, 6)), "1.5": Layout((16, 5, 8, 12), (2, 4, 6))}
THIN = {"1.0": Layout((16, 5, 2, 30), (5, 1, 15)), "1.5": Layout((16, 1, 2, 30), (1, 1, 15))}


def each(feature, layouts):
    for version, layout in layouts.items():
        layout = dataclasses.replace(layout, before=20, patch=PATCH[version], **TEXT)
        for kind in ("text", "image"):
            yield covers(FAMILY, feature, (layout, kind), id=f"{version} {kind}, {feature}")


@pytest.mark.parametrize(
    ("case", "way"),
    [
        *each("sparse & exact", SMALL),
        *each("odd sizes", ODD),
        *each("odd sizes", THIN),
        *each("batch 3", SMALL),
        *each("CFG split", SMALL),
        *each("context windows", LONG),
    ],
)
def test_cogvideox(bench, monkeypatch, case, way):
    layout, kind = case
    settings = {"in_channels": 32} if kind == "image" else {}
    if layout.patch[0] == 2:
        settings["patch_size_t"] = 2
    check(bench, monkeypatch, zoo.cogvideox(**settings), layout, way)
