"""`blocks`: settings of single transformer blocks, as a part of a configuration.

What it shares with `steps` is in test_step_ranges.py.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import PSAConfig
from psa_kernels.config import BlockOverrides, check_preset

PRESET = {
    "block_size": {"m": 128, "n": 64}, "tail": 32,
    "blocks": {
        "0-1": "dense",
        12: {"mask_ratios": {1: [0.0, 0.5], 0: [0.5, 1.0]}, "tail": 64},
        "20, 22-23": {"block_size": {"n": 32}, "rearrange_method": "Gilbert"},
    },
}  # fmt: skip


def issues_of(blocks, **preset):
    return check_preset({**preset, "blocks": blocks})[1]


def test_what_a_block_has():
    config = PSAConfig.from_preset(PRESET)
    plain = PSAConfig.from_preset({k: v for k, v in PRESET.items() if k != "blocks"})
    assert config.for_block(0).type == config.for_block(1).type == "dense"
    assert config.for_block(2) == config.for_block(9999) == plain
    assert config.for_block(12) == plain.replace(mask_ratios={1: (0, 0.5), 0: (0.5, 1)}, tail=64)
    for block in (20, 22, 23):
        assert config.for_block(block) == plain.replace(block_n=32, rearrange_method="Gilbert")
    assert config.for_block(21) == plain
    assert plain.for_block(3) == plain and plain.for_block(3) is plain.for_block(4)
    assert config.for_block(12) is config.for_block(12)  # every attention call asks


def test_equal_is_what_every_block_has_not_how_it_is_written():
    one = PSAConfig(blocks={"0-2": "dense", "5": {"tail": 8}, 7: {"tail": 8}})
    other = PSAConfig(blocks={"5, 7": {"tail": 8}, 1: "dense", "0, 2": "dense"})
    assert one == other and hash(one) == hash(other)
    assert other.to_preset()["blocks"] == {"0-2": "dense", "5, 7": {"tail": 8}}
    assert PSAConfig(blocks={4: {}}) == PSAConfig()  # nothing of its own


def test_long_lists_become_several_keys():
    """A key of a preset file has at most 128 characters."""
    config = PSAConfig(blocks={", ".join(map(str, range(0, 400, 2))): "dense"})
    preset = config.to_preset()
    assert len(preset["blocks"]) > 1 and all(len(key) <= 128 for key in preset["blocks"])
    assert PSAConfig.from_preset(preset) == config


def test_keys_that_overlap_are_both_named():
    (issue,) = issues_of({"0-4": "dense", "3, 9": {"tail": 8}})
    assert issue.path == "blocks.3, 9"
    assert issue.text() == (
        "blocks.3, 9: found block 3 once more; 0-4 names it too; each block is in one entry"
    )
    texts = [issue.text() for issue in issues_of({0: "dense", "0-1": "dense", "1-2": "dense"})]
    assert len(texts) == 2 and "0 names" in texts[0] and "0-1 names" in texts[1]


def test_a_rule_is_broken_where_the_preset_and_the_block_meet():
    """Each of the two is fine alone; the paths and ways out are the block's."""
    assert issues_of({}, tail=64) == [] and check_preset({"block_size": {"n": 32}})[1] == []
    (issue,) = issues_of({"2-3": {"block_size": {"n": 32}}}, tail=64)
    assert issue.path == "blocks.2-3.tail"
    # a block's tail is the nearest way out; the preset's own would change the other blocks too
    assert issue.mends[0].changes == {"blocks.2-3.tail": 32}
    assert issue.mends[1].changes == {"blocks.2-3.block_size.n": 64}
    # what is wrong with the preset itself is said once, not for every block
    found = issues_of({1: {"second_moment": True}}, tail=128)
    assert [issue.path for issue in found] == ["tail"]


def test_a_mend_of_the_preset_breaks_no_block():
    preset = {"block_size": {"n": 32}, "tail": 64, "blocks": {3: {"tail": 32}}}
    (issue,) = check_preset(preset)[1]
    assert [mend.changes for mend in issue.mends] == [{"tail": 32}, {"block_size.n": 64}]
    # with old_mask_type in a block, a key block of 64 would break that one
    preset["blocks"][3] = {"attn_impl": "old_mask_type", "block_size": {"m": 128}}
    preset["block_size"]["n"] = 128
    assert check_preset({**preset, "tail": 128})[1] == []
    (issue,) = check_preset({**preset, "block_size": {"n": 48}})[1]
    assert issue.mends[0].changes == {"block_size.n": 128}


def test_overrides_of_a_part_speak_where_all_is_known():
    """Laid over another preset, what the preset has is not known yet."""
    part = {"blocks": {3: {"tail": 128}, 4: {"tail": 64, "block_size": {"n": 32}}}}
    assert [i.path for i in check_preset(part, partial=True)[1]] == ["blocks.4.tail"]


OVERRIDE = st.just("dense") | st.fixed_dictionaries({}, optional={
    "tail": st.sampled_from(("none", 8, 32)), "second_moment": st.booleans(),
    "block_size": st.fixed_dictionaries({}, optional={"m": st.sampled_from((64, 128))}),
    "mask_ratios": st.sampled_from(({1: [0.0, 1.0]}, {1: [0.0, 0.25], 8: [0.25, 1.0]})),
    "tile_size": st.lists(st.integers(1, 9), min_size=3, max_size=3),
})  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 60), OVERRIDE, max_size=40))
def test_there_and_back(blocks):
    config = PSAConfig(blocks=blocks)
    again = PSAConfig.from_preset(config.to_preset())
    assert again == config and again.to_preset() == config.to_preset()
    for block in range(0, 61):
        own = blocks.get(block, {})
        wanted = (
            PSAConfig(type="dense") if own == "dense"
            else PSAConfig.from_preset({**PSAConfig().to_preset(), **own,
                                        "block_size": {"n": 64, "m": 128, "tile_n": 32,
                                                       **own.get("block_size", {})}})
        )  # fmt: skip
        assert config.for_block(block) == wanted
    assert isinstance(config.blocks, BlockOverrides) and len(config.blocks) <= len(blocks)
