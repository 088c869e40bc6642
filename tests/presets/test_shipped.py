"""The shipped files against the authors' figures, and what our own presets say of themselves."""

import re

import pytest
import yaml

from psa_kernels.config import FIELD_BY_PATH
from psa_presets import SHIPPED_DIR, VideoScale

from .figures import FAMILIES, PRESETS, SHIPPED, mask_ratios

OURS = ("fast", "balanced", "faithful", "lora_4step")
OTHERS = sorted(set(SHIPPED) - set(FAMILIES) - {"Small_Wan"})
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
    default = "psa_balanced" if family in FAMILIES else "balanced"
    assert found.default_attention == default
    assert store.get(family) == store.get(family, "default") == store.get(family, default)
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
    fast, balanced, faithful, lora = configs
    # where the tail is coarsest, a mean key understates its group most
    assert (fast.tail, fast.second_moment) == (balanced.tail, balanced.second_moment) == (128, True)
    assert (faithful.tail, faithful.second_moment) == (8, False)
    assert (lora.tail, lora.second_moment) == (16, False)
    assert density(fast) < density(balanced) < density(faithful)
    # a fifth to a third of the 20 to 30 steps that people sample with
    assert 4 <= fast.warmup_steps <= balanced.warmup_steps <= faithful.warmup_steps <= 10
    assert lora.warmup_steps <= 1


def density(config) -> float:
    """Share of dense attention's query-key products, by the definition of the levels."""
    kept = sum(config.mask_ratios.width(level) / level for level in (1, 2, 4, 8))
    tail = 0.0 if config.tail == "none" else config.mask_ratios.width(0) / config.tail
    return kept + tail


def test_every_topk_description_states_its_density(store):
    stated = 0
    for family in store.list().families:
        for name, config in store.get_family(family.name).attention_configs.items():
            found = re.search(r"density (\d[\d.]*\d)", config.description)
            assert config.description and "\n" not in config.description
            if config.type == "psa" and config.mask_mode == "topk":
                # three digits are what one reads in a node
                assert float(found[1]) == round(density(config) + 1e-12, 3), name
                stated += 1
            else:
                assert found is None
    assert stated == 4 + 4 * len(SHIPPED)


def test_presets_not_tried_on_their_model_say_so(store):
    for family in OTHERS:
        for name in OURS:
            assert "Not confirmed on this model." in store.get(family, name).description


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_plain_yaml_readers_see_the_same(store, path):
    """Anybody's safe_load reads the files: one family each, no key that we do not know."""
    [(family, section)] = yaml.safe_load(path.read_text(encoding="utf-8")).items()
    assert list(section) == [
        "default_attention", "video_scale", "text_length", "attention_configs"
    ]
    roots = {field.partition(".")[0] for field in FIELD_BY_PATH}
    for name, preset in section["attention_configs"].items():
        assert set(preset) <= roots
        config = store.get(family, name)
        assert config == type(config).from_preset(preset)
