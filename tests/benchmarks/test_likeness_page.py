"""benchmarks/likeness.md says what the data say, and the profiles stay as fitted."""

import json
import statistics

import pytest

from psa_pack.benchmarks import likeness_table

from ..pack_import import ROOT

PAGE = (ROOT / "benchmarks" / "likeness.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())
MADE = json.loads(likeness_table.PROFILES.read_text(encoding="utf-8"))["profiles"]
MODELS = {name: found["calls"] for name, found in likeness_table.models().items()}
SMALL, SEED, LAYERS = (
    likeness_table.gathered(MODELS[f"small-wan{name}"]) for name in ("", "-seed-2", "-4-layers")
)


def test_its_tables_are_the_data_s():
    made = [line for line in likeness_table.tables() if line.startswith("|")]
    assert len(made) > 50
    assert [x for x in PAGE.splitlines() if x.startswith("|")] == made


@pytest.mark.parametrize(
    "name, least, most",
    [
        ("blocks_0.959", 0.43, 0.53), ("blocks_0.99", 0.61, 0.71), ("blocks_0.999", 0.79, 0.87),
        ("lowest", 0, 0.03), ("near", 0.65, 0.75), ("outside_top", 0.2, 0.4),
        ("above_even", 0.05, 0.15), ("stable_rank", 4, 12), ("recall_own", 0.88, 0.93),
    ],
)  # fmt: skip
def test_the_mix_is_as_near_to_published_figures_as_it_was_fitted(name, least, most):
    assert least <= statistics.fmean(MADE["objects"][name]) <= most


def test_its_heads_are_from_flat_to_sharp():
    assert min(MADE["objects"]["std"]) < 0.8 and max(MADE["objects"]["std"]) > 7
    assert 0.65 < min(MADE["objects"]["recall_own"]) < 0.85


def mean(values):
    return statistics.fmean(values)


def of_layer(layer, figure):
    calls = [call for call in MODELS["small-wan"] if call["layer"] == layer]
    return mean(likeness_table.gathered(calls)[figure])


@pytest.mark.parametrize(
    "words, value",
    [
        ("**{:.3f} of the mass outside the top 8.1% of the keys**", mean(SMALL["outside_top"])),
        ("minutes {:.3f} and", mean(LAYERS["outside_top"])),
        ("and {:.3f}: the more tokens", mean(SEED["outside_top"])),
        ("holds {:.3f} of the mass at the last step", mean(SMALL["plan_at_last"])),
        ("in the worst head {:.3f}. Plans", min(SMALL["plan_at_last"])),
        ("on average ({:.3f} beside 0.913)", mean(SMALL["recall_own"])),
        ("better off here ({:.3f} beside", min(SMALL["recall_own"])),
        ("largest channel mean {:.2f} times the rms", mean(SMALL["largest_channel"])),
        ("at most {:.3f} of the mass on four keys", max(SMALL["sinks"])),
        ("for 0.9 of the mass hold {:.3f}", mean(MADE["sinks"]["recall_own"])),
        ("in the worst head {:.3f}, because", min(MADE["sinks"]["recall_own"])),
        ("(logits' std from {:.2f} to", min(SMALL["std"])),
        ("to {:.1f}), and its first layer", max(SMALL["std"])),
        ("broadest: {:.3f} of the mass", of_layer(0, "outside_top")),
        ("top 8.1% there, {:.3f} in the next", of_layer(1, "outside_top")),
        ("have keys of {:.0f} dimensions", mean(MADE["medium"]["rank_k"])),
        ("where the shipped model has {:.0f},", mean(SMALL["rank_k"])),
        ("({:.2f} of their variance", mean(MADE["medium"]["rough_v"])),
        ("the shipped model {:.2f})", mean(SMALL["rough_v"])),
        ("(worst head {:.3f} and better)",
         min(min(MADE[name]["recall_own"]) for name in ("peaked", "medium", "flat"))),
        ("the top 8.1% ({:.3f}),", mean(MADE["objects"]["outside_top"])),
        ("than is published ({:.3f})", mean(MADE["objects"]["above_even"])),
        ("lower stable rank ({:.2f})", mean(MADE["objects"]["stable_rank"])),
    ],
)  # fmt: skip
def test_a_figure_in_its_words(words, value):
    assert words.format(value) in WORDS


def test_what_follows_holds():
    published = 0.33
    tails = [mean(model["outside_top"]) for model in (SMALL, LAYERS, SEED)]
    assert tails == sorted(tails) and tails[-1] < published
    assert mean(SMALL["plan_at_last"]) == pytest.approx(0.987, abs=0.001)
    layers = {call["layer"] for call in MODELS["small-wan"]}
    assert max(layers, key=lambda layer: of_layer(layer, "outside_top")) == 0
