"""The editor's widgets come from the field descriptions, and say the same as YAML does."""

import dataclasses
import itertools

import pytest
import yaml

from psa_kernels import ConfigError, PSAConfig
from psa_kernels.config import FIELDS

TILE = ("tile_depth", "tile_height", "tile_width")
LEVELS = ("level_1_to", "level_2_to", "level_4_to", "level_8_to")
# the inputs of the first version, by place
FIRST_VERSION = [
    "base", "type", "description", "use_rearrange", "rearrange_method", *TILE, "block_m",
    "block_n", "tile_n", "mask_mode", *LEVELS, "tail", "second_moment", "importance", "attn_impl",
    "use_sim_mask", "sim_2x_threshold", "sim_4x_threshold", "sim_8x_threshold", "warmup_steps",
    "verbose", "yaml_overrides",
]  # fmt: skip


@pytest.fixture(scope="module")
def editor(comfy_inproc):
    comfy_inproc.load_pack()
    from psa_pack.nodes.preset_editor import PSAPresetEditor

    return PSAPresetEditor


@pytest.fixture
def widgets(editor):
    """{id: widget} of the editor node as it declares them now."""
    return lambda: {widget.id: widget for widget in editor.define_schema().inputs}


def build(editor, base=None, yaml_overrides="", **values):
    """(PresetValue, YAML text) as the node gives them."""
    return editor.execute(base=base, yaml_overrides=yaml_overrides, **values).result


def defaults(widgets):
    return {
        name: widget.default
        for name, widget in widgets().items()
        if name not in ("base", "yaml_overrides")
    }


def shown(choice):
    return "none" if choice is None else str(choice)


def test_every_field_has_a_widget_with_its_default_range_and_choices(widgets):
    found = widgets()
    expected = []
    for field in FIELDS:
        if field.kind in ("block_overrides", "step_ranges"):
            continue  # said in yaml_overrides alone
        if field.argument == "grouping":
            expected.append("yaml_overrides")  # what came later stands after all that was there
        if field.kind == "ints":
            expected += TILE
            assert tuple(found[name].default for name in TILE) == field.default
            for name in TILE:
                assert (found[name].min, found[name].max) == (field.low, field.high)
        elif field.kind == "mask_ratios":
            expected += LEVELS
            for name, level in zip(LEVELS, (1, 2, 4, 8), strict=True):
                assert found[name].default == field.default[level][1]
                assert (found[name].min, found[name].max) == (0, 1)
        else:
            expected.append(field.argument)
            widget = found[field.argument]
            if field.kind == "choice":
                assert widget.options == [shown(choice) for choice in field.choices]
                assert widget.default == shown(field.default)
            else:
                assert widget.default == field.default
                assert type(widget.default) is type(field.default)
            if field.kind in ("int", "float"):
                assert (widget.min, widget.max) == (field.low, field.high)
                assert widget.step == field.step
            assert widget.tooltip == field.help and widget.display_name == field.label
    assert list(found) == ["base", *expected]
    # `widgets_values` of saved workflows go by place: nothing may come before any of these
    assert list(found)[: len(FIRST_VERSION)] == FIRST_VERSION
    assert all(widget.optional and widget.tooltip for widget in found.values())


def test_a_change_of_a_field_changes_its_widget(widgets, monkeypatch):
    from psa_pack.nodes import field_widgets

    def changed(field):
        if field.argument == "warmup_steps":
            return dataclasses.replace(field, high=7, default=3, help="as never before")
        if field.argument == "tail":
            return dataclasses.replace(field, choices=("none", 256))
        return field

    monkeypatch.setattr(field_widgets, "FIELDS", tuple(map(changed, FIELDS)))
    warmup, tail = widgets()["warmup_steps"], widgets()["tail"]
    assert (warmup.max, warmup.default, warmup.tooltip) == (7, 3, "as never before")
    assert tail.options == ["none", "256"]


def test_a_new_node_is_the_default_configuration(editor, widgets):
    value, text = build(editor, **defaults(widgets))
    assert value.config == PSAConfig()
    assert PSAConfig.from_preset(yaml.safe_load(text)) == PSAConfig()
    assert build(editor)[0].config == PSAConfig()


def alternatives(field):
    """Other values of a field, as [(widget values, preset mapping)]."""
    if field.kind == "bool":
        return [({field.argument: not field.default}, not field.default)]
    if field.kind == "text":
        return [({field.argument: "für Nächte: #1 'x'\n- y"}, "für Nächte: #1 'x'\n- y")]
    if field.kind == "choice":
        others = [choice for choice in field.choices if choice != field.default]
        return [({field.argument: shown(choice)}, choice) for choice in others]
    if field.kind in ("int", "float"):
        number = int if field.kind == "int" else float
        ends = [number(x) for x in (field.low, field.high) if x != field.default]
        return [({field.argument: x}, x) for x in ends]
    if field.kind == "ints":
        return [(dict(zip(TILE, (1, 4, 16), strict=True)), [1, 4, 16])]
    ratios = {1: [0.0, 0.25], 2: [0.25, 0.25], 4: [0.25, 0.5], 8: [0.5, 0.75], 0: [0.75, 1.0]}
    return [(dict(zip(LEVELS, (0.25, 0.25, 0.5, 0.75), strict=True)), ratios)]


def mapping_of(path, value):
    section, _, key = path.rpartition(".")
    return {section: {key: value}} if section else {path: value}


CHANGES = [
    pytest.param(field, widgets, value, id=f"{field.path}={value}")
    for field in FIELDS
    if field.kind not in ("block_overrides", "step_ranges")
    for widgets, value in alternatives(field)
]


@pytest.mark.parametrize(
    ("name", "own", "other"),
    [
        (
            "blocks",
            {"0-1": "dense", 12: {"mask_ratios": {1: [0.0, 0.5], 0: [0.5, 1.0]}, "tail": 32}},
            {3: "dense"},
        ),
        ("steps", {"0-12.5%": "dense", "50-80%": {"tail": 32, "blocks": {4: "dense"}}},
         {"0-10%": "dense"}),
    ],
)  # fmt: skip
def test_single_blocks_and_steps_come_by_yaml_or_from_the_base_and_stay(editor, name, own, other):
    from psa_pack.nodes.editing import node_values
    from psa_pack.nodes.preset_value import PresetValue

    value, text = build(editor, yaml_overrides=yaml.safe_dump({name: own}), warmup_steps=3)
    assert value.config == PSAConfig(warmup_steps=3, **{name: own})
    assert yaml.safe_load(text)[name] == own
    # another setting on top of a base keeps them; YAML replaces all of them
    assert build(editor, base=value, tail="8")[0].config == value.config.replace(tail=8)
    for over in ({}, other):
        changed, _ = build(editor, base=value, yaml_overrides=yaml.safe_dump({name: over}))
        assert changed.config == value.config.replace(**{name: over})
    plain = PSAConfig(tail=8)
    for config, base in ((value.config, None), (value.config, plain), (plain, value.config),
                         (value.config.replace(tail=16), value.config)):  # fmt: skip
        widgets, overrides = node_values(config, base)
        again, _ = build(editor, base=base and PresetValue(base), yaml_overrides=overrides,
                         **widgets)  # fmt: skip
        assert again.config == config
        same = getattr(config, name) == getattr(base or PSAConfig(), name)
        assert (name in overrides) == (not same)


@pytest.mark.parametrize(("field", "values", "value"), CHANGES)
def test_a_widget_says_what_yaml_says(editor, widgets, field, values, value):
    mapping = mapping_of(field.path, value)
    try:
        expected = PSAConfig.from_preset(mapping)
    except ConfigError as error:
        # one value that clashes with the others' defaults: the same issues either way
        with pytest.raises(ConfigError) as caught:
            build(editor, **{**defaults(widgets), **values})
        assert caught.value.issues == error.issues
        with pytest.raises(ConfigError) as caught:
            build(editor, yaml_overrides=yaml.safe_dump(mapping))
        assert caught.value.issues == error.issues
        return
    by_widget, text = build(editor, **{**defaults(widgets), **values})
    by_yaml, _ = build(editor, yaml_overrides=yaml.safe_dump(mapping, allow_unicode=True))
    assert by_widget.config == by_yaml.config == expected != PSAConfig()
    assert PSAConfig.from_preset(yaml.safe_load(text)) == expected


def test_pairs_of_changes(editor, widgets):
    """Of two fields at a time: the configuration or the very issues that YAML gives."""
    plain, refused = defaults(widgets), 0
    for one, other in list(itertools.combinations(CHANGES, 2))[::3]:
        (field, values, value), (field2, values2, value2) = one.values, other.values
        if field is field2:
            continue
        preset = mapping_of(field.path, value)
        for key, inner in mapping_of(field2.path, value2).items():
            preset[key] = {**preset.get(key, {}), **inner} if key in preset else inner
        try:
            expected = PSAConfig.from_preset(preset)
        except ConfigError as error:
            refused += 1
            with pytest.raises(ConfigError) as caught:
                build(editor, **{**plain, **values, **values2})
            assert caught.value.issues == error.issues
        else:
            assert build(editor, **{**plain, **values, **values2})[0].config == expected
    assert refused > 20


@pytest.fixture(scope="module")
def base(comfy_inproc):
    """A preset that differs from the defaults in nearly every field."""
    from psa_pack.nodes.preset_value import PresetValue

    config = PSAConfig(
        block_m=128, block_n=128, tile_n=64, mask_mode="thresholdbound", tail=64,
        mask_ratios={1: (0, 0.3), 2: (0.3, 0.4), 4: (0.4, 0.5), 8: (0.5, 0.9), 0: (0.9, 1)},
        attn_impl="old_mask_type", use_sim_mask=True, sim_2x_threshold=0.7, sim_4x_threshold=0.65,
        sim_8x_threshold=0.6, rearrange_method="Gilbert", tile_size=(1, 4, 4), warmup_steps=15,
        second_moment=True, importance="exact", description="base", verbose=True,
        grouping="similar", refresh=9, qk="int8", value_sums="float16",
    )  # fmt: skip
    return PresetValue(config, "Wan2.1_1.3b", "mine", 0, (16, 16, 4))


def test_untouched_widgets_leave_a_base_alone(editor, widgets, base):
    value, text = build(editor, base, **defaults(widgets))
    assert value.config == base.config
    assert (value.family, value.text_length, value.video_scale) == ("Wan2.1_1.3b", 0, (16, 16, 4))
    assert value.label == "Wan2.1_1.3b/mine (edited)"
    assert PSAConfig.from_preset(yaml.safe_load(text)) == base.config


def test_a_base_can_be_set_back_to_every_default(editor, base):
    from psa_pack.nodes.editing import node_values

    widgets, overrides = node_values(PSAConfig(), base.config)
    assert build(editor, base, overrides, **widgets)[0].config == PSAConfig()
    for line in ("grouping: order", "refresh: 4", "qk: half", "value_sums: float32"):
        assert line in overrides
    # what the base says already is not said again
    assert node_values(base.config, base.config)[1] == ""


@pytest.mark.parametrize(("field", "values", "value"), CHANGES)
def test_only_a_touched_widget_changes_a_base(editor, widgets, base, field, values, value):
    preset = base.config.to_preset()
    changed = mapping_of(field.path, value)
    for key, inner in changed.items():
        keeps = isinstance(inner, dict) and key != "mask_ratios"
        preset[key] = {**preset[key], **inner} if keeps else inner
    touched = {**defaults(widgets), **values}
    try:
        expected = PSAConfig.from_preset(preset)
    except ConfigError as error:
        with pytest.raises(ConfigError) as caught:
            build(editor, base, **touched)
        assert caught.value.issues == error.issues
    else:
        assert build(editor, base, **touched)[0].config == expected


def test_yaml_lies_over_widgets_and_base(editor, widgets, base):
    touched = {**defaults(widgets), "warmup_steps": 9, "tail": "32", "sim_2x_threshold": 0.25}
    text = "warmup_steps: 0\nsim_thresholds: {x4: 0.5}\ntile_size: [2, 8, 8]"
    config = build(editor, base, text, **touched)[0].config
    # 0 and [2, 8, 8] are defaults: only YAML can set a base back to them
    assert config.warmup_steps == 0 and config.tile_size == (2, 8, 8)
    assert config.tail == 32
    assert config.sim_thresholds == {2: 0.25, 4: 0.5, 8: 0.6}
    ratios = build(editor, base, "mask_ratios: {1: [0, 0.5], 0: [0.5, 1]}")[0].config.mask_ratios
    assert dict(ratios) == {1: (0, 0.5), 0: (0.5, 1)}


def test_one_level_or_side_moves_and_the_base_keeps_the_others(editor, widgets, base):
    touched = {**defaults(widgets), "level_4_to": 0.6, "tile_width": 16}
    config = build(editor, base, **touched)[0].config
    assert dict(config.mask_ratios) == {
        1: (0, 0.3), 2: (0.3, 0.4), 4: (0.4, 0.6), 8: (0.6, 0.9), 0: (0.9, 1),
    }  # fmt: skip
    assert config.tile_size == (1, 4, 16)
    # a base without some levels
    levels = {1: (0, 0.5), 0: (0.5, 1)}
    few = dataclasses.replace(base, config=base.config.replace(mask_ratios=levels))
    ratios = build(editor, few, **{**defaults(widgets), "level_8_to": 0.7})[0].config.mask_ratios
    assert (ratios[1], ratios[8], ratios[0]) == ((0, 0.5), (0.5, 0.7), (0.7, 1))
    assert build(editor, few, **defaults(widgets))[0].config == few.config
    with pytest.raises(ConfigError, match=r"mask_ratios\.8: found \[0\.5, 0\.2\]"):
        build(editor, base, **{**defaults(widgets), "level_8_to": 0.2})


def test_a_whole_number_is_the_default_of_a_widget_too(editor, widgets, base):
    """As JSON gives it: 0 is the 0.0 that the widget shows, which leaves the base's."""
    values = {**defaults(widgets), "sim_2x_threshold": 0}
    assert build(editor, base, **values)[0].config == base.config
