"""A file of presets that a script names: what it says goes before what we ship."""

import pytest

from psa_presets import InvalidPresetError, NotFoundError, TextError, over_shipped

BARE = """
Wan2.1_14b:
  attention_configs:
    my_own:
      mask_ratios: {1: [0.0, 0.1], 2: [0.1, 0.3], 0: [0.3, 1.0]}
      warmup_steps: 3
    fast:
      mask_ratios: {1: [0.0, 1.0]}
"""
WHOLE = """
My_Model:
  default_attention: mine
  video_scale: {width_divisor: 16, height_divisor: 16, depth_divisor: 4}
  text_length: 0
  attention_configs:
    mine: {warmup_steps: 9}
Wan2.1_14b:
  default_attention: fast
  video_scale: {width_divisor: 16, height_divisor: 16, depth_divisor: 4}
  text_length: 0
  attention_configs:
    fast: {warmup_steps: 7}
"""


@pytest.fixture
def named(tmp_path):
    def catalog(text):
        file = tmp_path / "mine.yaml"
        file.write_text(text, encoding="utf-8")
        return over_shipped(file)

    return catalog


def test_a_preset_added_to_a_known_family_stands_beside_the_shipped_ones(named):
    catalog = named(BARE)
    assert catalog.preset("Wan2.1_14b", "my_own")[1].warmup_steps == 3
    assert catalog.preset("Wan2.1_14b", "fast")[1].mask_ratios[1] == (0.0, 1.0)
    shipped = over_shipped(None)
    for family, name in (("Wan2.1_14b", "balanced"), ("LTX-Video", "fast")):
        assert catalog.preset(family, name) == shipped.preset(family, name)
    assert catalog.preset("Wan2.1_14b", None)[0] == "balanced"


def test_a_whole_file_has_its_own_families_and_defaults(named):
    catalog = named(WHOLE)
    assert catalog.preset("My_Model", None)[1].warmup_steps == 9
    name, config = catalog.preset("Wan2.1_14b", None)
    assert name == "fast" and config.warmup_steps == 7


def test_a_broken_preset_hides_the_shipped_one_and_says_what_is_wrong(named):
    catalog = named(WHOLE.replace("warmup_steps: 7", "warmup_steps: -7"))
    with pytest.raises(InvalidPresetError, match=r"mine\.yaml.*warmup_steps"):
        catalog.preset("Wan2.1_14b", "fast")
    assert catalog.preset("Wan2.1_14b", "balanced")[0] == "balanced"


def test_a_broken_family_is_no_family(named):
    catalog = named(WHOLE.replace("text_length: 0", "text_length: -1"))
    with pytest.raises(InvalidPresetError, match="text_length"):
        catalog.preset("Wan2.1_14b", "balanced")


def test_what_is_not_there_is_told_with_what_there_is(named):
    with pytest.raises(NotFoundError, match=r"no preset 'my_onw'.*my_own"):
        named(BARE).preset("Wan2.1_14b", "my_onw")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1"])
def test_a_text_that_is_no_mapping_is_refused(named, text):
    with pytest.raises(TextError):
        named(text)


def test_a_single_preset_is_refused_with_where_it_belongs(named):
    with pytest.raises(InvalidPresetError, match="a file of families is expected"):
        named("mask_ratios: {1: [0.0, 1.0]}\nwarmup_steps: 3\n")


def test_a_file_that_is_not_there_is_an_ordinary_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        over_shipped(tmp_path / "none.yaml")
