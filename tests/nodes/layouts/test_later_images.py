"""Image models that came after 0.3.75: Krea 2, JoyImage, Mage-Flow, Ideogram 4."""

import dataclasses
from functools import partial

import torch

from .. import zoo
from ..zoo import noise
from .basics import basics, each, images, named
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


def model_of(family):
    kind, settings = KINDS[family]
    name = "mage_flow" if family == MAGE else kind.lower()
    return configured(kind, image_model=name, **settings)


def layout(family, latent, grid, references=(), after=0, **conditions):
    """`after`: tokens of the references."""
    side = 2 if family in (KREA, JOY) else 1
    # of Wan's latents, with a frame, or of Flux 2's
    leading = (16, 1) if side == 2 else (128,)
    if references:
        conditions["reference_latents"] = [
            noise(1, *leading, *reference, seed=i) for i, reference in enumerate(references, 1)
        ]
    around = {"after": TEXT + after} if family == JOY else {"before": TEXT, "after": after}
    # Krea has two blocks over the text's layers and two over the text
    return Layout(
        (*leading, *latent), (1, *grid), patch=(1, side, side), text=(TEXT, zoo.TEXT_WIDTH),
        text_inside=True, conditions=conditions,
        dense=("not the video's tokens",) if family == KREA else None, **around,
    )  # fmt: skip


def krea_reads(method):
    referred = layout(KREA, *REFERRED)
    conditions = {**referred.conditions, "reference_latents_method": method}
    return dataclasses.replace(referred, conditions=conditions)


REFERRED = (16, 24), (8, 12), [(11, 23), (8, 8)], 6 * 12 + 4 * 4
KREA_REFERENCES = {
    "timestep zero": krea_reads("index_timestep_zero"),
    "index": krea_reads("index"),
    # without a method the model leaves them out
    "unused": layout(KREA, *REFERRED[:3]),
}


@each(
    *(case for f in (KREA, JOY) for case in images(f, partial(layout, f))),
    *named(KREA, "references", KREA_REFERENCES),
    covers(JOY, "references", layout(JOY, *REFERRED)),
    *(case for f in (MAGE, IDEOGRAM) for case in basics(f, layout(f, (9, 13), (9, 13)))),
    *(covers(f, "odd sizes", layout(f, (1, 75), (1, 75))) for f in (MAGE, IDEOGRAM)),
    covers(MAGE, "references", layout(MAGE, (9, 13), (9, 13), [(7, 5), (2, 2)], 7 * 5 + 4)),
)
def test_later_images(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(layout.family), layout, way)


def test_a_mask_over_text_that_is_filled_up_stays_dense(bench):
    mask = torch.ones(1, TEXT)
    mask[:, -3:] = 0
    padded = layout(IDEOGRAM, (9, 13), (9, 13), attention_mask=mask)
    check_dense(bench, model_of(IDEOGRAM), padded, {"masked attention"})
