"""POST /psa/validate: the validator's answer, in every form, and mends that hold in every form."""

import itertools
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import PSAConfig
from psa_kernels.config import FIELDS, check_preset

from ...bad_presets import bad_presets

BASES = (None, {"family": "Wan2.1_1.3b", "preset": "psa_balanced"},
         {"family": "Wan2.1_14b", "preset": "faithful"})  # fmt: skip
ONE_BUDGET = {"family": "Wan2.1_1.3b", "preset": "psa_topk"}  # no ranges with settings of their own


def validate(app, **body):
    status, answer, _ = app.ask("POST", "/psa/validate", body)
    assert status == 200, answer
    return answer


def as_config(answer):
    return PSAConfig.from_preset(answer["config"])


def json_keys(preset):
    """As JSON can carry it; None for what it cannot."""
    if isinstance(preset, dict):
        return {str(key): json_keys(value) for key, value in preset.items()}
    if isinstance(preset, float) and (preset != preset or preset in (float("inf"), -float("inf"))):
        return "not a number"
    return [json_keys(x) for x in preset] if isinstance(preset, list) else preset


def test_a_clash_offers_both_ways_out_and_each_works_in_every_form(app):
    clash = {"use_sim_mask": True, "block_size": {"n": 64}}
    forms = (
        {"config": clash},
        {"yaml": yaml.safe_dump(clash)},
        {"widgets": {"use_sim_mask": True, "block_n": "64"}},
        {"widgets": {"block_n": "64"}, "yaml_overrides": "use_sim_mask: true # mine"},
        {"widgets": {}, "yaml_overrides": yaml.safe_dump(clash), "base": BASES[2]},
    )
    for form in forms:
        answer = validate(app, **form)
        (issue,) = answer["issues"]
        assert not answer["ok"] and issue["field"] == "use_sim_mask", form
        assert [m["changes"] for m in issue["mends"]] == [
            {"use_sim_mask": False},
            {"attn_impl": "old_mask_type", "block_size.m": 128, "block_size.n": 128},
        ]
        for mend in issue["mends"]:
            mended = validate(app, **form, changes=mend["changes"])
            assert mended["ok"], (form, mend, mended["issues"])
            config = as_config(mended)
            for path, value in mend["changes"].items():
                field = next(f for f in FIELDS if f.path == path)
                assert getattr(config, field.argument) == value
            # what the editor takes over says the same
            base = form.get("base")
            assert as_config(validate(app, yaml=mended["yaml"])) == config
            assert as_config(validate(app, **mended["node"], base=base)) == config


CHANGES = st.fixed_dictionaries({}, optional={
    field.path: (
        st.sampled_from(field.choices) if field.kind == "choice"
        else st.booleans() if field.kind == "bool"
        else st.integers(int(field.low), int(field.high)) if field.kind == "int"
        else st.sampled_from((-1.0, 0.0, 0.65, 1.0)) if field.kind == "float"
        else st.lists(st.integers(1, 9), min_size=3, max_size=3) if field.kind == "ints"
        else st.sampled_from(("", "a: b", "日本")) if field.kind == "text"
        else st.sampled_from(({}, {"0-1": "dense"}, {"3": {"tail": 16}, "5": "dense"}))
        if field.kind == "block_overrides"
        else st.sampled_from(({"1": [0, 0.2], "0": [0.2, 1]}, {"8": [0, 1]},
                              {"1": [0, 0.1], "2": [0.1, 0.15], "4": [0.15, 0.15],
                               "8": [0.15, 0.35], "0": [0.35, 1]}))
    )
    for field in FIELDS
})  # fmt: skip
WIDGETS = st.fixed_dictionaries({}, optional={
    "block_n": st.sampled_from(("32", "128")), "tail": st.sampled_from(("none", "32")),
    "level_1_to": st.sampled_from((0.1, 0.3)), "tile_width": st.integers(1, 9),
    "rearrange_method": st.sampled_from(("none", "STA")), "warmup_steps": st.integers(0, 4),
})  # fmt: skip
OVERRIDES = st.sampled_from(("", "tail: 16\n", "block_size: {m: 64}\nsim_thresholds: {x2: 0.5}\n",
                             "mask_ratios: {1: [0, 1]}\n", "warmup_steps: 0\n",
                             "blocks: {2: {block_size: {m: 64}}}\n"))  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(WIDGETS, OVERRIDES, st.sampled_from(BASES), CHANGES)
def test_changes_hold_in_the_node_whatever_its_base(session_app, widgets, overrides, base, changes):
    """The node that an answer describes is the preset that it describes."""
    before = validate(session_app, widgets=widgets, yaml_overrides=overrides, base=base)
    after = validate(
        session_app, widgets=widgets, yaml_overrides=overrides, base=base, changes=changes
    )
    node = validate(session_app, **after["node"], base=base)
    for key in ("ok", "config"):
        assert node[key] == after[key], key
    # not their lines, which are those of the text that was sent
    assert [i["message"] for i in node["issues"]] == [i["message"] for i in after["issues"]]
    # what was not changed stays
    paths = {field.path for field in FIELDS} - changes.keys()
    if before["ok"] and after["ok"]:
        for field in FIELDS:
            if field.path in paths:
                old, new = as_config(before), as_config(after)
                assert getattr(old, field.argument) == getattr(new, field.argument)
    if after["ok"]:  # and a preset shown for this base gives itself back
        shown = validate(session_app, config=after["config"], base=base)
        again = validate(session_app, **shown["node"], base=base)
        assert as_config(again) == as_config(after) or pyramid_only(again, after)


def pyramid_only(one, other):
    """Levels without width may be there or not: widgets cannot say which."""
    return one["pyramid"] == other["pyramid"] and as_config(one).replace(
        mask_ratios={1: (0, 1)}
    ) == as_config(other).replace(mask_ratios={1: (0, 1)})


@pytest.mark.parametrize("bad", bad_presets(60), ids=lambda bad: bad.name)
def test_issues_are_the_validators(app, bad):
    preset = json_keys(bad.preset)
    answer = validate(app, config=preset)
    _, issues = check_preset(preset)
    assert not answer["ok"]
    assert [i["message"] for i in answer["issues"]] == [i.text() for i in issues]
    for issue in answer["issues"]:
        for mend in issue["mends"]:
            left = validate(app, config=preset, changes=mend["changes"])["issues"]
            assert {i["path"] for i in left} <= {i["path"] for i in answer["issues"]}
            assert len(left) < len(answer["issues"])


def test_lines(app):
    text = "# mine\ntail: 5\n\nblock_size:\n  n: 33\n  m: 64\nmask_ratios:\n  1: [0, 2]\n"
    answer = validate(app, yaml=text)
    assert {i["path"]: i["line"] for i in answer["issues"]} == {
        "tail": 2, "block_size.n": 5, "mask_ratios.1": 8,
    }  # fmt: skip
    assert answer["lines"]["block_size.m"] == 6
    answer = validate(app, yaml="tail: 32\ntail: 16\n")
    (issue,) = answer["issues"]
    assert issue["line"] == 2 and "twice" in issue["message"] and answer["config"] is None
    answer = validate(app, widgets={}, yaml_overrides="\ntail: &a 32\n")
    (issue,) = answer["issues"]
    assert issue["line"] == 2 and "anchors" in issue["message"] and answer["node"] is None


def test_what_is_not_valid_yet_can_be_worked_on(app):
    answer = validate(app, widgets={"warmup_steps": 2000, "tail": "32"})
    assert answer["config"]["warmup_steps"] == 2000 and answer["node"]["widgets"]["tail"] == "32"
    assert [level["to"] for level in answer["pyramid"]] == [0.1, 0.15, 0.15, 0.35, 1.0]
    typed = validate(app, widgets={}, changes={"warmup_steps": 2000})
    assert typed["node"]["widgets"]["warmup_steps"] == 2000 and not typed["ok"]
    widgets = {"level_1_to": 0.5, "level_2_to": 0.2, "level_4_to": 0.6, "level_8_to": 0.7}
    crossed = validate(app, widgets=widgets)
    assert crossed["pyramid"] is None and len(crossed["issues"]) == 1
    mend = crossed["issues"][0]["mends"][0]
    mended = validate(app, widgets=widgets, changes=mend["changes"])
    assert mended["ok"] and mended["node"]["yaml_overrides"] == ""
    assert [level["to"] for level in mended["pyramid"]] == [0.5, 0.5, 0.6, 0.7, 1.0]


def test_single_blocks(app):
    """They live in the node's YAML, are listed, and a mend of one works in every form."""
    blocks = {"0-1": "dense", 12: {"tail": 128, "mask_ratios": {1: [0, 0.5], 0: [0.5, 1]}}}
    text = "warmup_steps: 2\nblocks:\n  0-1: dense\n  12:\n    tail: 128\n"
    for form in (
        {"config": {"blocks": json_keys(blocks)}},
        {"yaml": text},
        {"widgets": {"block_n": "32"}, "yaml_overrides": text},
        {"widgets": {"block_n": "32"}, "yaml_overrides": text, "base": ONE_BUDGET},
    ):
        answer = validate(app, **form)
        (issue,) = answer["issues"]
        assert (issue["path"], issue["field"]) == ("blocks.12.tail", "blocks"), form
        assert issue["line"] == (5 if "yaml" in str(form.keys()) else None)
        assert len(issue["mends"]) == 2
        for mend in issue["mends"]:
            mended = validate(app, **form, changes=mend["changes"])
            assert mended["ok"], mended["issues"]
            config = as_config(mended)
            assert config.for_block(12).tail <= config.for_block(12).block_n
            assert config.for_block(1).type == "dense"
            assert mended["single_blocks"]["count"] == 3
            first, second = mended["single_blocks"]["entries"]
            assert first == {"blocks": "0-1", "settings": "dense"}
            assert second["blocks"] == "12" and "tail: " in second["settings"]
            assert as_config(validate(app, **mended["node"], base=form.get("base"))) == config
            # another setting changes nothing about them
            other = validate(app, **mended["node"], base=form.get("base"),
                             changes={"second_moment": True})  # fmt: skip
            assert as_config(other) == config.replace(second_moment=True)
    answer = validate(app, config={})
    assert answer["single_blocks"] == {"count": 0, "entries": []}
    assert validate(app, yaml=text, changes={"blocks.12": "dense"})["ok"]
    assert validate(app, yaml=text, changes={"blocks": {}})["config"]["blocks"] == {}


def test_ranges_of_steps(app):
    """They live in the node's YAML, are listed, and a mend of one works in every form."""
    steps = {"0-12.5%": "dense", "25-50.5%": {"tail": 128, "blocks": {3: {"tail": 9}}}}
    text = json.dumps({"warmup_steps": 2, "steps": steps}, indent=1)
    for form in (
        {"config": {"steps": json_keys(steps)}},
        {"yaml": text},
        {"widgets": {"block_n": "32"}, "yaml_overrides": text},
        {"widgets": {"block_n": "32"}, "yaml_overrides": text, "base": ONE_BUDGET},
    ):
        answer = validate(app, **form)
        deep, wide = sorted(answer["issues"], key=lambda issue: -len(issue["path"]))
        assert (wide["path"], wide["field"]) == ("steps.25-50.5%.tail", "steps"), form
        assert (deep["path"], deep["field"]) == ("steps.25-50.5%.blocks.3.tail", "steps")
        assert wide["line"] == (6 if "yaml" in str(form.keys()) else None)
        for mend in wide["mends"]:
            changes = {**mend["changes"], **deep["mends"][0]["changes"]}
            mended = validate(app, **form, changes=changes)
            assert mended["ok"], mended["issues"]
            config = as_config(mended)
            assert config.for_step(0.4).tail <= config.block_n
            assert config.for_step(0.4).for_block(3).tail == 8
            assert config.for_step(0.1).type == "dense"
            assert mended["step_ranges"]["count"] == 2
            first, second = mended["step_ranges"]["entries"]
            assert first == {"steps": "0-12.5%", "settings": "dense"}
            assert second["steps"] == "25-50.5%" and "blocks: {3: {tail: 8}}" in second["settings"]
            assert as_config(validate(app, **mended["node"], base=form.get("base"))) == config
            # another setting changes nothing about them
            other = validate(app, **mended["node"], base=form.get("base"),
                             changes={"second_moment": True, "grouping": "similar"})  # fmt: skip
            assert as_config(other) == config.replace(second_moment=True, grouping="similar")
            run = mended["step_ranges"]["run"]
            assert [(part["from"], part["to"]) for part in run] == [
                (0, 12.5), (12.5, 25), (25, 50.5), (50.5, 100),
            ]  # fmt: skip
            assert run[0]["density"] == 1 and run[1] == {**run[3], "from": 12.5, "to": 25}
            assert 0 < run[1]["density"] != run[2]["density"] < 1
    assert validate(app, config={})["step_ranges"] == {"count": 0, "entries": [], "run": []}
    whole = validate(app, config={"steps": {"0-100%": "dense"}})["step_ranges"]["run"]
    assert whole == [{"from": 0, "to": 100, "density": 1}]
    dense = {"steps.25-50.5%": "dense"}
    assert validate(app, yaml=text, changes=dense)["ok"]
    assert validate(app, yaml=text, changes={"steps": {}})["config"]["steps"] == {}


def test_an_answer_has_every_field_and_its_yaml_only_what_older_versions_know(app):
    answer = validate(app, config={})
    assert answer["config"].keys() > {"grouping", "refresh", "blocks", "steps"}
    for name in ("grouping", "refresh", "blocks", "steps"):
        assert f"\n{name}:" not in answer["yaml"]
    told = validate(app, config={"grouping": "similar", "refresh": 1})["yaml"]
    assert "grouping: similar" in told and "refresh: 1" in told


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        ({}, {"use_rearrange", "tile_size", "sim_thresholds.x2", "sim_thresholds.x4",
              "sim_thresholds.x8"}),
        ({"type": "dense"}, {f.path for f in FIELDS} - {"type", "description", "verbose"}),
        ({"use_rearrange": False}, {"rearrange_method", "tile_size", "sim_thresholds.x2",
                                    "sim_thresholds.x4", "sim_thresholds.x8"}),
        ({"rearrange_method": "STA", "use_sim_mask": True, "attn_impl": "old_mask_type",
          "block_size": {"n": 128}}, set()),
        ({"mask_ratios": {"1": [0, 0.2], "2": [0.2, 1]}, "rearrange_method": "STA"},
         {"tail", "sim_thresholds.x2", "sim_thresholds.x4", "sim_thresholds.x8"}),
        ({"mask_ratios": {"1": [0, 0.2], "0": [0.2, 1]}, "rearrange_method": "STA"},
         {"second_moment", "use_sim_mask", "sim_thresholds.x2", "sim_thresholds.x4",
          "sim_thresholds.x8"}),
        ({"mask_ratios": {"1": [0, 1]}, "rearrange_method": "STA"},
         {"mask_mode", "importance", "grouping", "second_moment", "tail", "use_sim_mask",
          "sim_thresholds.x2", "sim_thresholds.x4", "sim_thresholds.x8"}),
    ],
)  # fmt: skip
def test_fields_that_do_not_apply(app, values, paths):
    found = validate(app, config=values)["not_applicable"]
    assert found.keys() == paths | {"refresh"}
    assert all(len(reason) > 5 for reason in found.values())


def test_a_field_that_a_block_or_a_range_reads_applies(app):
    everywhere = {"mask_ratios": {"1": [0, 1]}}
    found = validate(app, config=everywhere)["not_applicable"]
    assert {"tail", "grouping", "refresh", "importance"} <= found.keys()
    pooled = {"mask_ratios": {"1": [0, 0.2], "8": [0.2, 1]}}
    for own in (
        {"blocks": {3: pooled}},
        {"steps": {"0-50%": pooled}},
        {"steps": {"0-50%": {"blocks": {3: pooled}}, "60-70%": "dense"}},
    ):
        found = validate(app, config={**everywhere, **json_keys(own)})["not_applicable"]
        assert not {"second_moment", "grouping", "importance"} & found.keys()
        assert "tail" in found  # still no level 0
    similar = {"steps": {"0-50%": {"grouping": "similar"}}}
    assert "refresh" not in validate(app, config=similar)["not_applicable"]
    dense = {"blocks": {3: "dense"}, "steps": {"0-50%": "dense"}}
    assert "tail" in validate(app, config={**everywhere, **json_keys(dense)})["not_applicable"]


def test_a_field_that_does_not_apply_changes_nothing():
    """The claim itself, on the reference: every such field, at every other value, same output."""
    import torch

    from psa_kernels import PSAAttention
    from psa_kernels.config import not_applicable
    from psa_kernels.config.validate import check_arguments

    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 300, 16)
    starts = (
        PSAConfig(), PSAConfig(use_rearrange=False, rearrange_method="STA"),
        PSAConfig(mask_ratios={1: (0, 0.2), 2: (0.2, 1)}, rearrange_method="Gilbert"),
        PSAConfig(mask_ratios={1: (0, 0.2), 0: (0.2, 1)}), PSAConfig(mask_ratios={1: (0, 1)}),
    )  # fmt: skip
    tried = 0
    for config in starts:
        values = {field.argument: getattr(config, field.argument) for field in FIELDS}
        wanted = PSAAttention(config)(q, k, v, grid=(3, 10, 10))
        for field in FIELDS:
            if field.path not in not_applicable(values):
                continue
            others = {"bool": (True, False), "choice": field.choices, "float": (-1.0, 0.5),
                      "int": (1, 7), "ints": ((1, 2, 3),)}[field.kind]  # fmt: skip
            for other in others:
                preset = {**values, field.argument: other}
                if check_arguments(preset)[1]:
                    continue
                found = PSAAttention(PSAConfig(**preset))(q, k, v, grid=(3, 10, 10))
                assert torch.equal(found, wanted), (config, field.path, other)
                tried += 1
    assert tried > 30


def test_fields_say_what_the_fields_are(app):
    english, chinese = (
        {f["path"]: f for f in app.ask("GET", f"/psa/fields?locale={x}")[1]["fields"]}
        for x in ("en", "zh")
    )
    assert list(english) == list(chinese) == [field.path for field in FIELDS]
    widgets = list(itertools.chain.from_iterable(f["widgets"] for f in english.values()))
    assert len(widgets) == len(set(widgets)) == len(FIELDS) - 2 + 2 + 3
    for field in FIELDS:
        said, translated = english[field.path], chinese[field.path]
        assert (said["label"], said["help"]) == (field.label, field.help)
        assert said["label"] != translated["label"] and said["help"] != translated["help"]
        assert (said["low"], said["high"], said["choices"]) == (
            field.low, field.high, list(field.choices),
        )  # fmt: skip
        # the same choices are explained
        assert [x for x, _ in said["choice_help"]] == [x for x, _ in translated["choice_help"]]
    assert [x for x, _ in english["mask_mode"]["choice_help"]] == ["topk", "thresholdbound"]
