"""The shipped files against the authors' figures, and what our own presets say of themselves."""

import re

import pytest
import yaml

from psa_kernels.config import FIELD_BY_PATH
from psa_presets import SHIPPED_DIR, VideoScale

from .figures import PRESETS, SHIPPED, mask_ratios

OURS = ("fast", "balanced", "faithful", "lora_4step")
FILES = sorted(SHIPPED_DIR.glob("*.yaml"))


def test_nothing_is_wrong_and_nothing_is_missing(store):
    listing = store.list()
    assert listing.problems == ()
    assert {family.name for family in listing.families} == set(SHIPPED)
    for family in listing.families:
        theirs = [row[1] for row in PRESETS if row[0] == family.name]
        assert [preset.name for preset in family.presets] == ["baseline", *theirs, *OURS]
        assert family.origin == "shipped"
        assert all(preset.origin == "shipped" for preset in family.presets)


@pytest.mark.parametrize("family", SHIPPED)
def test_header(store, family):
    divisors, text = SHIPPED[family]
    found = store.get_family(family)
    assert found.video_scale == VideoScale(*divisors)
    assert found.text_length == text
    assert found.default_attention == "balanced"
    assert store.get(family) == store.get(family, "default") == store.get(family, "balanced")
    assert store.get(family, "baseline").type == "dense"
    assert [f.name for f in FILES].count(f"{family.lower()}.yaml") == 1


@pytest.mark.parametrize("row", PRESETS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_figures_of_the_authors(store, row):
    family, preset, mode, n, impl, sim_mask, rearrange, warmup, uppers, x8 = row
    config = store.get(family, preset)
    assert config.type == "psa"
    assert (config.block_m, config.block_n, config.tile_n) == (128, n, 32)
    assert config.mask_mode == mode
    assert config.mask_ratios == mask_ratios(uppers)
    assert config.attn_impl == f"{impl}_mask_type"
    assert config.use_sim_mask is bool(sim_mask)
    assert config.use_rearrange is bool(rearrange)
    assert config.rearrange_method == "Gilbert"
    assert config.tile_size == (2, 8, 8)
    assert config.warmup_steps == warmup
    assert config.sim_thresholds == {2: 0.7, 4: 0.65, 8: x8}
    assert (config.tail, config.second_moment, config.importance) == ("none", False, "sub_block")
    assert config.verbose is False


@pytest.mark.parametrize("family", SHIPPED)
def test_our_presets(store, family):
    configs = [store.get(family, name) for name in OURS]
    for config in configs:
        assert (config.block_m, config.block_n, config.tile_n) == (128, 128, 32)
        assert (config.mask_mode, config.attn_impl) == ("topk", "new_mask_type")
        assert config.order == "Gilbert"
        # like keys together, kept for four steps; nothing is thrown away
        assert (config.grouping, config.refresh, config.second_moment) == ("similar", 4, True)
        assert all(step.tail == 64 or step.mask_ratios.width(0) == 0 for step in sparse(config, 20))
    # a budget that falls with the steps
    for config in configs:
        densities = [density(step) for step in sparse(config, 20)]
        assert densities == sorted(densities, reverse=True) and densities[0] > densities[-1]
    *usual, lora = configs
    assert [20 - len(sparse(config, 20)) for config in usual] == [2, 3, 4]
    assert [cost(config, 20) for config in usual] == sorted(cost(config, 20) for config in usual)
    # of four steps the first is dense
    assert len(sparse(lora, 4)) == 3 and cost(lora, 4) < 0.45


def sparse(config, steps) -> list:
    """The settings of each sparse step, in order."""
    own = (config.for_step(i / steps) for i in range(config.warmup_steps, steps))
    return [step for step in own if step.type != "dense"]


def cost(config, steps) -> float:
    """The mean density of all steps of a run, dense ones counted as 1."""
    densities = [density(step) for step in sparse(config, steps)]
    return (steps - len(densities) + sum(densities)) / steps


def density(config) -> float:
    """Share of dense attention's query-key products, by the definition of the levels."""
    kept = sum(config.mask_ratios.width(level) / level for level in (1, 2, 4, 8))
    tail = 0.0 if config.tail == "none" else config.mask_ratios.width(0) / config.tail
    return kept + tail


def test_a_preset_of_ours_states_its_densities_and_its_cost(store):
    for family in SHIPPED:
        for name in OURS:
            config = store.get(family, name)
            text = config.description
            steps = 4 if name == "lora_4step" else 20
            stated = re.search(r"densit(?:y|ies) of ([\d., and]+);", text)[1]
            told = [float(x) for x in re.findall(r"0\.\d+", stated)]
            found = list(dict.fromkeys(density(step) for step in sparse(config, steps)))
            assert told == pytest.approx(found, abs=0.006), (family, name)
            said = float(re.search(r"(0\.\d+) of dense attention over", text)[1])
            assert said == pytest.approx(cost(config, steps), abs=0.006), (family, name)
            if name != "lora_4step":
                at_50 = re.search(r"(0\.\d+) at 50", text)
                told = float(at_50[1]) if at_50 else said
                assert told == pytest.approx(cost(config, 50), abs=0.006), (family, name)


def test_a_preset_of_the_authors_in_quotas_states_its_density(store):
    stated = 0
    for family, name, mode, *_ in PRESETS:
        config = store.get(family, name)
        found = re.search(r"density (\d[\d.]*\d)", config.description)
        assert config.description and "\n" not in config.description
        if mode == "topk":
            # three digits are what one reads in a node
            assert float(found[1]) == round(density(config) + 1e-12, 3), name
            stated += 1
        else:
            assert found is None
    assert stated == 4


def test_presets_not_tried_on_their_model_say_so(store):
    for family in SHIPPED:
        for name in OURS:
            said = "not confirmed on this one" in store.get(family, name).description
            assert said is (family != "Small_Wan")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_plain_yaml_readers_see_the_same(store, path):
    """Anybody's safe_load reads the files: one family each, no key that we do not know."""
    [(family, section)] = yaml.safe_load(path.read_text(encoding="utf-8")).items()
    assert list(section) == ["default_attention", "video_scale", "text_length", "attention_configs"]
    roots = {field.partition(".")[0] for field in FIELD_BY_PATH}
    for name, preset in section["attention_configs"].items():
        assert set(preset) <= roots
        config = store.get(family, name)
        assert config == type(config).from_preset(preset)
