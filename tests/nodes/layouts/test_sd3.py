"""Stable Diffusion 3, 3.5 and AuraFlow: text, then the image."""

from functools import partial

import pytest

from .. import zoo
from ..zoo import noise
from .basics import each, images
from .configured import configured
from .layout import Layout, Way, check, sampler

SD3, MEDIUM, AURA = "SD 3, 3.5 Large", "SD 3.5 Medium", "AuraFlow"
TEXT = 20
MMDIT = {
    "in_channels": 16, "pos_embed_scaling_factor": None, "depth": 2, "input_size": None,
    "patch_size": 2, "adm_in_channels": 64, "qk_norm": "rms", "num_patches": 80 * 80,
    "pos_embed_max_size": 80, "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": zoo.TEXT_WIDTH, "out_features": 128},
    },
}  # fmt: skip
AURAFLOW = {
    "dim": 256, "n_layers": 3, "n_double_layers": 1, "n_heads": 2, "global_conddim": 256,
    "cond_seq_dim": zoo.TEXT_WIDTH, "max_seq": 12 * 12,
}  # fmt: skip


def model_of(family):
    if family == AURA:
        return configured("AuraFlow", **AURAFLOW)
    layers = {"x_block_self_attn_layers": [0]} if family == MEDIUM else {}
    return configured("SD3", **MMDIT, **layers)


def layout(family, latent, grid):
    registers = 8 if family == AURA else 0
    more = {
        SD3: {"conditions": {"pooled_output": noise(1, 64)}},
        # the first block of two attends twice
        MEDIUM: {"conditions": {"pooled_output": noise(1, 64)}, "alone": 0, "calls": 3},
        AURA: {"calls": 3},
    }[family]
    return Layout(
        (4 if family == AURA else 16, *latent), (1, *grid), before=registers + TEXT,
        text=(TEXT, zoo.TEXT_WIDTH), text_inside=True, **more,
    )  # fmt: skip


@each(*(case for f in (SD3, MEDIUM, AURA) for case in images(f, partial(layout, f))))
def test_sd3(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(layout.family), layout, way)


@pytest.mark.parametrize(("block", "dense"), [(0, 2), (1, 1)])
def test_blocks_of_medium_keep_their_numbers(bench, block, dense):
    patched = bench.patch(model=model_of(MEDIUM), dense_blocks=frozenset({block}))
    sampler(bench, layout(MEDIUM, (16, 24), (8, 12)), Way())(patched)
    calls = {"sparse": 2 * (3 - dense), "dense": {"dense block": 2 * dense}}
    assert bench.report["calls"] == calls
