"""OmniGen 2 and Boogu: text, reference images, the image; heads share keys and values."""

import dataclasses

import pytest
import torch

from .. import zoo
from ..sampling import ROUNDING, dense_level_config
from ..zoo import noise
from .configured import configured
from .layout import Layout, Way, check, covers, sampler

ONE, TWO = "OmniGen 2", "Boogu"
TEXT = 20
SETTINGS = {
    "hidden_size": 240, "num_layers": 2, "num_refiner_layers": 0, "num_attention_heads": 4,
    "num_kv_heads": 2, "multiple_of": 32, "axes_dim_rope": (20, 20, 20), "timestep_scale": 1000.0,
}  # fmt: skip
KINDS = {
    ONE: ("Omnigen2", {"image_model": "omnigen2", "text_feat_dim": zoo.TEXT_WIDTH}),
    TWO: ("Boogu", {
        "image_model": "boogu", "instruction_feat_dim": zoo.TEXT_WIDTH,
        "num_double_stream_layers": 2,
    }),
}  # fmt: skip


def model_of(family, **changes):
    kind, settings = KINDS[family]
    return configured(kind, **SETTINGS | settings | changes)


def layout(family, latent, grid, references=()):
    """`references`: (height and width in the latent, tokens) of each."""
    more = sum(tokens for _, tokens in references)
    latents = [noise(1, 16, *size, seed=i) for i, (size, _) in enumerate(references)]
    conditions = {"attention_mask": torch.ones(1, TEXT, dtype=torch.long)}
    conditions |= {"reference_latents": latents} if latents else {}
    found = Layout(
        (16, *latent), (1, *grid), before=TEXT + more, text=(TEXT, zoo.TEXT_WIDTH),
        text_inside=True, conditions=conditions,
    )  # fmt: skip
    if family == ONE:
        return found
    # two blocks that attend twice, two that attend once
    return dataclasses.replace(found, alone=more, calls=6)


def cases(family):
    usual = layout(family, (16, 24), (8, 12))
    named = {
        "odd": layout(family, (17, 23), (9, 12)),
        "1 x N": layout(family, (2, 150), (1, 75)),
    }
    edited = {
        "one reference": layout(family, (16, 24), (8, 12), [((9, 8), 20)]),
        "two references": layout(family, (16, 24), (8, 12), [((16, 24), 96), ((6, 4), 6)]),
    }
    return [
        *(covers(family, f, usual) for f in ("sparse & exact", "batch 3", "CFG split")),
        *(covers(family, "odd sizes", x, id=f"{family}, {name}") for name, x in named.items()),
        *(covers(family, "references", x, id=f"{family}, {name}") for name, x in edited.items()),
    ]


@pytest.mark.parametrize(("layout", "way"), cases(ONE))
def test_omnigen(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(ONE), layout, way)
    assert bench.report["calls"]["dense"] == {}


@pytest.mark.parametrize(("layout", "way"), cases(TWO))
def test_boogu(bench, monkeypatch, layout, way):
    check(bench, monkeypatch, model_of(TWO), layout, way)
    assert bench.report["calls"]["dense"] == {}


@pytest.mark.parametrize("references", [[], [((16, 24), 96)]])
@pytest.mark.parametrize("family", [ONE, TWO])
def test_refiners_over_one_of_them_alone_stay_dense(bench, family, references):
    """Without references Boogu's blocks attend to what a refiner has seen before them."""
    found = layout(family, (16, 24), (8, 12), references)
    model = model_of(family, num_refiner_layers=1)
    sample = sampler(bench, found, Way())
    plain = sample(model)
    out = sample(bench.patch(dense_level_config(), model=model))
    # a refiner of each kind, in two steps
    refiners = 2 * (3 if references else 2)
    assert bench.report["calls"] == {
        "sparse": 2 * found.calls, "dense": {"not the video's tokens": refiners}
    }  # fmt: skip
    assert (out - plain).abs().max() < ROUNDING * plain.abs().max()


def test_boogus_blocks_keep_their_numbers(bench):
    """The first two attend twice: blocks 0, 0, 1, 1, 2, 3."""
    found = layout(TWO, (16, 24), (8, 12))
    patched = bench.patch(model=model_of(TWO), dense_blocks=frozenset({1, 3}))
    sampler(bench, found, Way())(patched)
    assert bench.report["calls"] == {"sparse": 2 * 3, "dense": {"dense block": 2 * 3}}
