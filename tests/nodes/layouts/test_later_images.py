"""Image models that came after 0.3.75: Krea 2, JoyImage, Mage-Flow, Ideogram 4."""

import pytest
import torch

from .. import zoo
from ..zoo import noise
from .basics import basics
from .configured import configured
from .layout import Layout, check, check_dense, covers

KREA, JOY, MAGE, IDEOGRAM = "Krea 2", "JoyImage Edit", "Mage-Flow", "Ideogram 4"
# family -> class in supported_models, its settings
KINDS = {
    KREA: ("Krea2", {
        "features": 128, "tdim": 64, "txtdim": 32, "heads": 2, "kvheads": 1, "multiplier": 2,
        "layers": 2, "txtlayers": 2, "txtheads": 1, "txtkvheads": 1,
    }),
    JOY: ("JoyImage", {
        "hidden_size": 128, "num_attention_heads": 2, "text_dim": zoo.TEXT_WIDTH,
        "mlp_width_ratio": 2.0, "num_layers": 2, "rope_dim_list": [16, 24, 24],
    }),
    MAGE: ("MageFlow", {
        "num_layers": 2, "attention_head_dim": 64, "num_attention_heads": 2,
        "joint_attention_dim": zoo.TEXT_WIDTH, "axes_dims_rope": (16, 24, 24),
    }),
    IDEOGRAM: ("Ideogram4", {
        "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 64,
        "intermediate_size": 128, "adaln_dim": 32, "llm_features_dim": zoo.TEXT_WIDTH,
        "mrope_section": (12, 10, 10),
    }),
}  # fmt: skip
TEXT = 20


def model_of(family, **changes):
    kind, settings = KINDS[family]
    names = {JOY: "joyimage", MAGE: "mage_flow"}
    name = names.get(family, kind.lower())
    return configured(kind, image_model=name, **settings | changes)


def layout(family, size, references=(), after=0, **conditions):
    """`size`: height and width of the image in tokens, `after`: tokens of the references."""
    side = 2 if family in (KREA, JOY) else 1
    # of Wan's latents, with a frame, or of Flux 2's
    leading = (16, 1) if side == 2 else (128,)
    height, width = size
    if references:
        conditions["reference_latents"] = [
            noise(1, *leading, *reference, seed=i) for i, reference in enumerate(references, 1)
        ]
    around = {"before": TEXT, "after": after}
    if family == JOY:
        around = {"after": TEXT + after}
    return Layout(
        (*leading, height * side, width * side), (1, *size), patch=(1, side, side),
        text=(TEXT, zoo.TEXT_WIDTH), text_inside=True, conditions=conditions, **around,
    )  # fmt: skip


def odd(family, size, latent):
    """A latent that patches of two by two do not divide."""
    found = layout(family, size)
    return Layout(**{**vars(found), "latent": (*found.latent[:2], *latent)})


def each(*parameters):
    return pytest.mark.parametrize(("layout", "way"), parameters)


@each(
    *basics(KREA, layout(KREA, (8, 12))),
    covers(KREA, "odd sizes", odd(KREA, (9, 12), (17, 23))),
    covers(KREA, "odd sizes", layout(KREA, (1, 75)), id="Krea 2, 1 x N"),
)
def test_krea(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(KREA), layout, way)
    # two blocks over the text's layers and two over the text
    assert set(bench.report["calls"]["dense"]) == {"not the video's tokens"}


REFERRED = {"references": [(11, 23), (8, 8)], "after": 6 * 12 + 4 * 4}


@each(
    covers(
        KREA, "references",
        layout(KREA, (8, 12), **REFERRED, reference_latents_method="index_timestep_zero"),
    ),
    covers(
        KREA, "references",
        layout(KREA, (8, 12), **REFERRED, reference_latents_method="index"), id="Krea 2, index",
    ),
    # without a method the model leaves them out
    covers(KREA, "references", layout(KREA, (8, 12), REFERRED["references"]), id="Krea 2, unused"),
)  # fmt: skip
def test_krea_with_references(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(KREA), layout, way)


@each(
    *basics(JOY, layout(JOY, (8, 12))),
    covers(JOY, "odd sizes", odd(JOY, (9, 12), (17, 23))),
    covers(JOY, "odd sizes", layout(JOY, (1, 75)), id="JoyImage, 1 x N"),
    covers(JOY, "references", layout(JOY, (8, 12), **REFERRED)),
)
def test_joyimage(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(JOY), layout, way)
    assert bench.report["calls"]["dense"] == {}


@each(
    *basics(MAGE, layout(MAGE, (9, 13))),
    covers(MAGE, "odd sizes", layout(MAGE, (1, 75))),
    covers(MAGE, "references", layout(MAGE, (9, 13), [(7, 5), (2, 2)], 7 * 5 + 4)),
)
def test_mage_flow(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(MAGE), layout, way)
    assert bench.report["calls"]["dense"] == {}


@each(
    *basics(IDEOGRAM, layout(IDEOGRAM, (9, 13))),
    covers(IDEOGRAM, "odd sizes", layout(IDEOGRAM, (1, 75))),
)
def test_ideogram(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(IDEOGRAM), layout, way)
    assert bench.report["calls"]["dense"] == {}


def test_a_mask_over_text_that_is_filled_up_stays_dense(bench):
    mask = torch.ones(1, TEXT)
    mask[:, -3:] = 0
    padded = layout(IDEOGRAM, (9, 13), attention_mask=mask)
    check_dense(bench, model_of(IDEOGRAM), padded, {"masked attention"})
