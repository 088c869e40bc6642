"""PSAConfig as a value: round trips without loss, immutable, hashable, picklable."""

import copy
import dataclasses
import pickle

import pytest
import yaml
from hypothesis import given, settings

from psa_kernels import PSAConfig
from psa_kernels.config import MaskRatios

from .strategies import arguments, ratios

EXAMPLES = settings(max_examples=100, deadline=None)


@EXAMPLES
@given(arguments())
def test_round_trip_through_yaml_text(given_arguments):
    config = PSAConfig(**given_arguments)
    preset = config.to_preset()
    text = yaml.safe_dump(preset, allow_unicode=True)
    assert PSAConfig.from_preset(yaml.safe_load(text)) == config
    assert PSAConfig.from_preset(yaml.safe_load(text)).to_preset() == preset
    assert PSAConfig.from_preset(preset) == config
    flow = yaml.safe_dump(preset, default_flow_style=True, sort_keys=False)
    assert PSAConfig.from_preset(yaml.safe_load(flow)) == config


@EXAMPLES
@given(arguments())
def test_copies_are_equal_and_hash_alike(given_arguments):
    config = PSAConfig(**given_arguments)
    for other in (
        copy.copy(config),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
        config.replace(),
        PSAConfig(**given_arguments),
    ):
        assert other == config and hash(other) == hash(config)
        assert type(other) is PSAConfig and type(other.mask_ratios) is MaskRatios
    assert {config: 1}[copy.deepcopy(config)] == 1


def test_every_field_counts():
    for field in dataclasses.fields(PSAConfig):
        other = copy.copy(PSAConfig())
        object.__setattr__(other, field.name, "another")
        assert other != PSAConfig() and hash(other) != hash(PSAConfig()), field.name


def test_nothing_can_be_changed():
    config = PSAConfig()
    for field in dataclasses.fields(config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, field.name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(config, field.name)
    with pytest.raises(TypeError):
        config.mask_ratios[1] = (0.0, 1.0)
    with pytest.raises(TypeError):
        del config.mask_ratios[1]
    with pytest.raises(AttributeError):
        config.mask_ratios._items = ()
    with pytest.raises(AttributeError):
        del config.mask_ratios._items
    assert config == PSAConfig()


def test_the_callers_objects_stay_the_callers():
    given_ratios = {1: [0.0, 0.5], 0: [0.5, 1.0]}
    given_tile = [1, 2, 3]
    config = PSAConfig(mask_ratios=given_ratios, tile_size=given_tile)
    before = hash(config)
    given_ratios[1][1] = 0.7
    given_ratios[2] = [0.1, 0.2]
    given_tile[0] = 9
    preset = config.to_preset()
    preset["mask_ratios"][1][1] = 0.9
    preset["tile_size"][0] = 9
    preset["block_size"]["n"] = 9
    assert config.mask_ratios == {1: (0.0, 0.5), 0: (0.5, 1.0)}
    assert config.tile_size == (1, 2, 3) and config.block_n == 64 and hash(config) == before


@EXAMPLES
@given(ratios())
def test_ratios_are_a_plain_mapping(given_ratios):
    built = PSAConfig(mask_ratios=given_ratios).mask_ratios
    assert dict(built) == {level: tuple(pair) for level, pair in given_ratios.items()}
    assert list(built) == [level for level in (1, 2, 4, 8, 0) if level in given_ratios]
    assert len(built) == len(given_ratios) and 3 not in built
    assert built == dict(built) and dict(built) == built
    assert [upper for _, upper in built.uppers()][-1] == 1.0


def test_defaults_are_the_documented_ones():
    config = PSAConfig()
    assert dict(config.mask_ratios) == {
        1: (0.0, 0.1), 2: (0.1, 0.15), 4: (0.15, 0.15), 8: (0.15, 0.35), 0: (0.35, 1.0),
    }  # fmt: skip
    documented = {
        "block_m": 128, "block_n": 64, "tile_n": 32, "mask_mode": "topk",
        "attn_impl": "new_mask_type", "use_sim_mask": False, "sim_2x_threshold": 0.0,
        "sim_4x_threshold": 0.0, "sim_8x_threshold": -1.0, "rearrange_method": None,
        "tail": "none", "second_moment": False, "importance": "sub_block",
    }  # fmt: skip
    assert {name: getattr(config, name) for name in documented} == documented
    assert PSAConfig.from_preset({}) == config
