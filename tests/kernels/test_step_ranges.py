"""`steps`: settings of parts of a sampling run, as a part of a configuration."""

import pickle

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import ConfigError, PSAAttention, PSAConfig
from psa_kernels.config import FIELDS, StepRanges, check_preset, parse_range, range_text

PRESET = {
    "tail": 32,
    "blocks": {3: {"tail": 64, "second_moment": True}, 4: "dense"},
    "steps": {
        "0-12.5%": "dense",
        "20-50%": {"tail": 8, "grouping": "similar"},
        "60-100%": {"mask_ratios": {1: [0.0, 0.1], 0: [0.1, 1.0]}, "blocks": {5: "dense"}},
    },
}


def issues_of(steps, **preset):
    return check_preset({**preset, "steps": steps})[1]


def test_what_a_step_has():
    config = PSAConfig.from_preset(PRESET)
    plain = PSAConfig.from_preset({k: v for k, v in PRESET.items() if k != "steps"})
    assert config.for_step(0).type == config.for_step(0.1249).type == "dense"
    for gap in (0.125, 0.19, 0.5, 0.55):  # the lower end is in a range, the upper is not
        assert config.for_step(gap) == plain
    assert (
        config.for_step(0.2) == config.for_step(0.49) == plain.replace(tail=8, grouping="similar")
    )
    assert (
        config.for_step(0.6)
        == config.for_step(1.0)
        == plain.replace(mask_ratios={1: (0, 0.1), 0: (0.1, 1)}, blocks={5: "dense"})
    )
    assert config.for_step(0.3) is config.for_step(0.4)  # every attention call asks
    assert plain.for_step(0.3) is plain.for_step(0.9) == plain


def test_preset_then_range_then_block():
    config = PSAConfig.from_preset(PRESET)
    inside = config.for_step(0.3)
    assert inside.for_block(0).tail == 8
    assert (inside.for_block(3).tail, inside.for_block(3).grouping) == (64, "similar")
    assert inside.for_block(4).type == "dense"
    # its own blocks replace the preset's
    late = config.for_step(0.7)
    assert [late.for_block(block).type for block in (3, 4, 5)] == ["psa", "psa", "dense"]
    assert late.for_block(3).tail == 32 and not late.for_block(3).second_moment
    # dense of either wins
    assert {config.for_step(0).for_block(block).type for block in range(6)} == {"dense"}
    none = PSAConfig.from_preset({**PRESET, "steps": {"0-50%": {"blocks": {}}}})
    assert none.for_step(0).for_block(4).type == "psa" != none.for_step(0.5).for_block(4).type


@pytest.mark.parametrize("steps", [3, 4, 6, 7, 8, 12, 20, 25, 30, 40, 50, 75, 150, 1000])
def test_every_step_is_in_the_range_that_it_begins_in(steps):
    """Exact arithmetic says which; a place that comes of a float32 noise level says the same."""
    ranges = StepRanges({(0, 10): "dense", (10, 12.5): "dense", (25, 60): "dense"})
    for step in range(steps):
        wanted = [r for r in ranges if r[0] * 10 * steps <= step * 1000 < r[1] * 10 * steps]
        for place in (step / steps, step / steps - 2e-7, step / steps + 2e-7):
            assert ranges.at(place) == (wanted[0] if wanted else None)


def test_few_steps_may_leave_a_range_empty():
    ranges = StepRanges({(0, 10): "dense", (10, 25): "dense", (30, 45): "dense"})
    assert [ranges.at(step / 4) for step in range(4)] == [(0, 10), None, None, None]


def test_immutable_hashable_and_there_and_back():
    config = PSAConfig.from_preset(PRESET)
    preset = config.to_preset()
    for name in ("blocks", "steps"):
        assert preset[name] == PRESET[name] and list(preset[name]) == list(PRESET[name])
        assert config != config.replace(**{name: {}}) and name not in PSAConfig().to_preset()
    text = yaml.safe_dump(preset, sort_keys=False)
    for again in (
        PSAConfig.from_preset(yaml.safe_load(text)),
        pickle.loads(pickle.dumps(config)),
        PSAConfig(**{f.argument: getattr(config, f.argument) for f in FIELDS}),
    ):
        assert again == config and hash(again) == hash(config)
    with pytest.raises(AttributeError):
        config.steps.entries = ()
    with pytest.raises(AttributeError):
        config.blocks.groups = ()
    with pytest.raises(TypeError):
        config.steps[0, 10] = "dense"
    with pytest.raises(TypeError):
        config.blocks[3] = "dense"
    assert PSAConfig(steps={"0-50%": {}}) == PSAConfig()  # nothing of its own
    other = PSAConfig(steps={"50-60%": {"tail": 8}, " 0 - 50 % ": "dense"})
    assert list(other.to_preset()["steps"]) == ["0-50%", "50-60%"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0-10%", (0, 10)), ("12.5-33.3333%", (12.5, 33.3333)), ("0% - 100%", (0, 100)),
        ("10-20", "write 10-20%"), ("20-10%", "begin before it ends"), ("0-101%", "to 100%"),
        ("5-5%", "begin before"), ("50%", "like 0-10%"), ("-5-10%", "like 0-10%"),
        ("", "like 0-10%"), ("1e1-20%", "like"), ("\u0663-\u0661%", "like"), ("9" * 5000, "like"),
    ],
)  # fmt: skip
def test_ranges_as_text(text, wanted):
    if isinstance(wanted, tuple):
        assert parse_range(text) == wanted == parse_range(range_text(wanted))
        return
    with pytest.raises(ValueError, match=wanted) as caught:
        parse_range(text)
    assert len(str(caught.value)) < 200
    (issue,) = issues_of({text: "dense"})
    assert issue.path == f"steps.{text}" and wanted in issue.text()


def test_ranges_that_overlap_are_both_named():
    (issue,) = issues_of({"0-40%": "dense", "25-50%": {"tail": 8}})
    assert issue.path == "steps.25-50%"
    assert "25-40% once more; 0-40% covers it too" in issue.text()
    assert not issues_of({"25-50%": "dense", "0-25%": {"tail": 8}, "50-100%": {}})


def test_a_rule_is_broken_where_preset_range_and_block_meet():
    """Each is fine alone; what is named, and changed, is the nearest to it."""
    wide = {"60-90%": {"tail": 64}}
    (issue,) = issues_of(wide, block_size={"n": 32})
    assert issue.path == "steps.60-90%.tail"
    assert [m.changes for m in issue.mends] == [{"steps.60-90%.tail": 32}, {"block_size.n": 64}]
    (issue,) = issues_of(wide, blocks={"2-3": {"block_size": {"n": 32}}})
    assert issue.path == "steps.60-90%.tail"
    assert "where blocks 2-3 and steps 60-90% meet" in issue.text()
    assert [m.changes for m in issue.mends] == [
        {"steps.60-90%.tail": 32}, {"blocks.2-3.block_size.n": 64},
    ]  # fmt: skip
    # with blocks of its own the range does not meet the preset's
    own = {"60-90%": {"tail": 64, "blocks": {2: {"second_moment": True}}}}
    assert not issues_of(own, blocks={2: {"block_size": {"n": 32}}})
    (issue,) = issues_of({"60-90%": {"blocks": {2: {"tail": 128}}}})
    assert issue.path == "steps.60-90%.blocks.2.tail"
    assert issue.mends[0].label == "set tail to 64 for blocks 2 in steps 60-90%"
    # what is wrong with the preset itself is said once, not for every range
    found = issues_of({"0-10%": {"second_moment": True}}, tail=128)
    assert [issue.path for issue in found] == ["tail"]


def test_ranges_of_a_part_speak_where_all_is_known():
    """Laid over another preset, what the preset has is not known yet."""
    kept = {"mask_ratios": {0: [0, 1]}}
    part = {"steps": {"0-10%": kept, "10-20%": {**kept, "tail": "none"}}}
    found = check_preset(part, partial=True)[1]
    assert [i.path for i in found] == ["steps.10-20%.mask_ratios.0"]


@pytest.mark.parametrize(("own", "found", "mend"), [
    ({"blocks": {3: {"block_size": {"n": 48}}}},
     "blocks.3.block_size.n: found 48;", "set block_size.n to 64 for blocks 3"),
    ({"steps": {"0-50%": {"sim_thresholds": {"x2": 3}}}},
     "steps.0-50%.sim_thresholds.x2: found 3;", "set sim_thresholds.x2 to 1.0 for steps 0-50%"),
])  # fmt: skip
def test_in_python_the_form_is_the_files(own, found, mend):
    with pytest.raises(ConfigError) as caught:
        PSAConfig(**own)
    assert found in str(caught.value) and mend in str(caught.value)


def test_the_plain_call_reads_neither_blocks_nor_steps():
    q, k, v = torch.randn(3, 1, 2, 300, 16)
    config = PSAConfig(mask_ratios={1: (0, 0.2), 0: (0.2, 1)})
    ranges = config.replace(blocks={0: "dense", 1: {"tail": 8}}, steps={"0-100%": "dense"})
    assert torch.equal(PSAAttention(config)(q, k, v), PSAAttention(ranges)(q, k, v))


SETTINGS = {
    "tail": st.sampled_from(("none", 8, 32)), "second_moment": st.booleans(),
    "mask_ratios": st.sampled_from(({1: [0.0, 1.0]}, {1: [0.0, 0.25], 8: [0.25, 1.0]})),
    "grouping": st.sampled_from(("order", "similar")), "refresh": st.integers(1, 100),
    "mask_mode": st.sampled_from(("topk", "thresholdbound")),
    "qk": st.sampled_from(("half", "int8")), "value_sums": st.sampled_from(("float32", "float16")),
}  # fmt: skip
OWN = st.just("dense") | st.fixed_dictionaries({}, optional=SETTINGS)
BLOCKS = st.dictionaries(st.integers(0, 5), OWN, max_size=4)
RANGE = st.just("dense") | st.fixed_dictionaries({}, optional={**SETTINGS, "blocks": BLOCKS})


@st.composite
def steps_maps(draw):
    """[(start, end) in percent, settings], apart from each other."""
    ends = draw(st.lists(st.integers(0, 10_000), unique=True, max_size=12).map(sorted))
    pairs = [(a / 100, b / 100) for a, b in zip(ends[::2], ends[1::2], strict=False)]
    return [(pair, draw(RANGE)) for pair in pairs]


@settings(max_examples=60, deadline=None)
@given(steps_maps(), BLOCKS, st.randoms(use_true_random=False))
def test_what_holds_where_by_a_plain_reading(ranges, blocks, rng):
    """Against mappings laid over each other by hand."""
    shuffled = ranges[:]
    rng.shuffle(shuffled)
    preset = {"blocks": blocks, "steps": {range_text(pair): own for pair, own in shuffled}}
    config = PSAConfig.from_preset(preset)
    assert PSAConfig.from_preset(config.to_preset()) == config
    assert pickle.loads(pickle.dumps(config)) == config
    for percent in {0, 100, *(x for pair, _ in ranges for x in pair)}:
        own = next((own for (a, b), own in ranges if a <= percent < b), {})
        of_step = config.for_step(percent / 100)
        for block in range(7):
            found = of_step.for_block(block)
            if own == "dense":
                assert found.type == "dense"
                continue
            inner = own.get("blocks", blocks).get(block, {})
            if inner == "dense":
                assert found.type == "dense"
                continue
            wanted = {k: v for k, v in own.items() if k != "blocks"} | inner
            assert found == PSAConfig.from_preset(wanted)


def test_without_the_dense_ones():
    ranges = PSAConfig.from_preset(PRESET).steps
    assert list(ranges.sparse()) == [(20, 50), (60, 100)]
    assert ranges.sparse() == ranges.sparse().sparse()
