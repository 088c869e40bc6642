"""OmniGen 2 and Boogu: text, reference images, the image; heads share keys and values."""

import dataclasses
from functools import partial

import torch

from .. import zoo
from ..zoo import noise
from .basics import each, images, named
from .configured import configured
from .layout import Layout, Way, check, sampler

ONE, TWO = "OmniGen 2", "Boogu"
TEXT = 20
SETTINGS = {
    "hidden_size": 240, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 4,
    "num_kv_heads": 2, "multiple_of": 32, "axes_dim_rope": (20, 20, 20), "timestep_scale": 1000.0,
}  # fmt: skip
KINDS = {
    ONE: ("Omnigen2", {"image_model": "omnigen2", "text_feat_dim": zoo.TEXT_WIDTH}),
    TWO: ("Boogu", {
        "image_model": "boogu", "instruction_feat_dim": zoo.TEXT_WIDTH,
        "num_double_stream_layers": 2,
    }),
}  # fmt: skip


def model_of(family):
    kind, settings = KINDS[family]
    return configured(kind, **SETTINGS | settings)


def layout(family, latent, grid, references=()):
    """`references`: (height and width in the latent, tokens) of each."""
    more = sum(tokens for _, tokens in references)
    latents = [noise(1, 16, *size, seed=i) for i, (size, _) in enumerate(references)]
    conditions = {"attention_mask": torch.ones(1, TEXT, dtype=torch.long)}
    conditions |= {"reference_latents": latents} if latents else {}
    found = Layout(
        (16, *latent), (1, *grid), before=TEXT + more, text=(TEXT, zoo.TEXT_WIDTH),
        text_inside=True, conditions=conditions,
        dense=("not the video's tokens",),  # the refiners, over one of them alone
    )  # fmt: skip
    if family == ONE:
        return found
    # two blocks that attend twice, two that attend once
    return dataclasses.replace(found, alone=more, calls=6)


def cases(family):
    edited = {
        "one reference": layout(family, (16, 24), (8, 12), [((9, 8), 20)]),
        "two references": layout(family, (16, 24), (8, 12), [((16, 24), 96), ((6, 4), 6)]),
    }
    return [*images(family, partial(layout, family)), *named(family, "references", edited)]


@each(*cases(ONE), *cases(TWO))
def test_omnigen(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(layout.family), layout, way)


def test_boogus_blocks_keep_their_numbers(bench):
    """The first two attend twice: blocks 0, 0, 1, 1, 2, 3."""
    found = layout(TWO, (16, 24), (8, 12))
    patched = bench.patch(model=model_of(TWO), dense_blocks=frozenset({1, 3}))
    sampler(bench, found, Way())(patched)
    calls = bench.report["calls"]
    assert calls["sparse"] == calls["dense"]["dense block"] == 2 * 3
