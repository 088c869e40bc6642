"""benchmarks/likeness.md says what the data say."""

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
        ("on average ({:.3f} and 0.913)", mean(SMALL["recall_own"])),
        ("worst head is better here ({:.3f} and", min(SMALL["recall_own"])),
        ("largest channel mean {:.2f} times the rms", mean(SMALL["largest_channel"])),
        ("at most {:.3f} of the mass on four keys", max(SMALL["sinks"])),
        ("for 0.9 of the mass hold {:.3f}", mean(MADE["sinks"]["recall_own"])),
        ("in the worst head {:.3f}, because", min(MADE["sinks"]["recall_own"])),
        ("(the logits' std from {:.2f} to", min(SMALL["std"])),
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
