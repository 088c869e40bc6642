"""Flux, Flux 2, Kontext, LongCat-Image, Chroma: text, the image, reference images."""

from functools import partial

from .. import zoo
from ..zoo import noise
from .basics import basics, each, images
from .configured import configured, parameters
from .layout import Layout, check, covers

SETTINGS = {
    "in_channels": 16, "out_channels": 16, "vec_in_dim": 64, "context_in_dim": zoo.TEXT_WIDTH,
    "hidden_size": 128, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1,
    "axes_dim": [16, 24, 24], "theta": 10000, "patch_size": 2, "qkv_bias": True,
    "guidance_embed": True, "txt_ids_dims": [],
}  # fmt: skip
FLUX_2 = {
    "in_channels": 128, "out_channels": 128, "vec_in_dim": None, "axes_dim": [16] * 4,
    "theta": 2000, "patch_size": 1, "qkv_bias": False, "guidance_embed": False,
    "global_modulation": True, "mlp_silu_act": True, "ops_bias": False,
    "default_ref_method": "index", "ref_index_scale": 10.0, "txt_ids_dims": [3],
}  # fmt: skip
CHROMA = {
    "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 128, "hidden_dim": 64,
    "n_layers": 1,
}  # fmt: skip
RADIANCE = {
    **CHROMA, "in_channels": 3, "out_channels": 3, "patch_size": 16, "nerf_hidden_size": 16,
    "nerf_mlp_ratio": 2, "nerf_depth": 1, "nerf_max_freqs": 4, "nerf_tile_size": 0,
    "nerf_final_head_type": "conv", "nerf_embedder_dtype": None, "use_x0": False,
    "use_sequential_txt_ids": False,
}  # fmt: skip
# no pooled text beside the text
LONGCAT = {"vec_in_dim": None, "guidance_embed": False, "txt_ids_dims": [1, 2]}
FLUX, TWO, DISTILLED, PIXELS = "Flux, Kontext", "Flux 2", "Chroma", "Chroma Radiance"
CAT = "LongCat-Image"
# family -> class in supported_models, its parameters' class, settings, channels
KINDS = {
    FLUX: ("Flux", "flux.model.FluxParams", {}, 16),
    TWO: ("Flux2", "flux.model.FluxParams", FLUX_2, 128),
    CAT: ("LongCatImage", "flux.model.FluxParams", LONGCAT, 16),
    DISTILLED: ("Chroma", "chroma.model.ChromaParams", CHROMA, 16),
    PIXELS: ("ChromaRadiance", "chroma_radiance.model.ChromaRadianceParams", RADIANCE, 3),
}
POOLED = {"pooled_output": noise(1, 64)}


def model_of(family):
    kind, known, settings, _ = KINDS[family]
    module, known = known.rsplit(".", 1)
    settings = parameters(f"comfy.ldm.{module}", known, SETTINGS | settings)
    return configured(kind, image_model=kind.lower(), **settings)


def layout(family, size, grid, after=0, references=()):
    channels = KINDS[family][3]
    patch = {TWO: 1, PIXELS: 16}.get(family, 2)
    conditions = dict(POOLED)
    if references:
        latents = [noise(1, channels, *r, seed=i) for i, r in enumerate(references, 2)]
        conditions["reference_latents"] = latents
    # Flux 2 fills its text up to 512 tokens.
    return Layout(
        (channels, *size), (1, *grid), before=512 if family == TWO else 20, after=after,
        patch=(1, patch, patch), text=(20, zoo.TEXT_WIDTH), text_inside=True,
        conditions=conditions,
    )  # fmt: skip


REFERRED = (16, 24), (8, 12), 6 * 12 + 4 * 4, [(11, 23), (8, 8)]


@each(
    *(case for f in (FLUX, CAT, DISTILLED) for case in images(f, partial(layout, f))),
    *basics(TWO, layout(TWO, (9, 13), (9, 13))),
    covers(TWO, "odd sizes", layout(TWO, (1, 75), (1, 75))),
    *basics(PIXELS, layout(PIXELS, (128, 160), (8, 10))),
    covers(PIXELS, "odd sizes", layout(PIXELS, (120, 151), (8, 10))),
    *(covers(family, "references", layout(family, *REFERRED)) for family in (FLUX, CAT)),
    covers(TWO, "references", layout(TWO, (9, 13), (9, 13), 7 * 5 + 4, [(7, 5), (2, 2)])),
)
def test_flux(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(layout.family), layout, way)


def test_chroma_takes_no_reference_images(bench, monkeypatch):
    """What is beside the text changes nothing."""
    unused = layout(DISTILLED, (16, 24), (8, 12), references=[(8, 8)])
    check(bench, monkeypatch, model_of(DISTILLED), unused)
