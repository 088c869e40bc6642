"""The validator and PSAConfig: every breach by its own field, every mend works, no surprises."""

import copy
import itertools
import pickle

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels import ConfigError, PSAConfig
from psa_kernels.config import FIELDS, Issue, check_preset

from ..bad_presets import GOOD, MISSPELT, WRONG_VALUES, bad_presets, place

BAD = bad_presets()
LEVELS = (1, 2, 4, 8, 0)
# paths of values, as opposed to keys and whole sections
VALUES = {*WRONG_VALUES, *(f"mask_ratios.{level}" for level in LEVELS)}


def issues_of(preset) -> tuple[Issue, ...]:
    with pytest.raises(ConfigError) as caught:
        PSAConfig.from_preset(preset, where="preset x")
    assert type(caught.value) is ConfigError
    return caught.value.issues


# --- generated bad presets ------------------------------------------------------------------


def test_the_good_preset_is_good():
    assert PSAConfig.from_preset(GOOD).to_preset() == GOOD


def test_enough_bad_presets_of_every_kind():
    assert len(BAD) >= 200
    assert len({yaml.safe_dump(bad.preset) for bad in BAD}) >= 200
    assert len([bad for bad in BAD if len(set(bad.paths)) > 1]) >= 80
    named = {path for bad in BAD for path in bad.paths}
    assert named >= VALUES | set(MISSPELT) | {"block_size", "sim_thresholds"}


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_bad_preset_names_exactly_what_is_broken(bad):
    before = yaml.safe_dump(bad.preset)
    issues = issues_of(bad.preset)
    assert sorted(issue.path for issue in issues) == bad.paths
    assert yaml.safe_dump(bad.preset) == before, "the validator changed the caller's preset"

    with pytest.raises(ConfigError) as caught:
        PSAConfig.from_preset(bad.preset, where="preset x")
    text = str(caught.value)
    assert text.startswith("preset x: ")
    for issue in issues:
        assert f"{issue.path}: found {issue.found}; " in text
        assert issue.allowed in text
        assert all(mend.label in text for mend in issue.mends)
    for breach in bad.breaches:
        found = [issue.found for issue in issues if issue.path == breach.path]
        wanted = breach.shown
        assert not wanted or any(f.startswith(wanted) for f in found), (breach, found)
        if breach.path in MISSPELT:
            offered = [i.allowed for i in issues if i.path == breach.path]
            assert any(MISSPELT[breach.path] in text for text in offered)


def assert_mends_are_good(preset):
    """Each removes its issue, and adds none."""
    issues = check_preset(preset)[1]
    paths = [issue.path for issue in issues]
    for issue in issues:
        for mend in issue.mends:
            mended = copy.deepcopy(preset)
            for path, value in mend.changes.items():
                place(mended, path, value)
            left = check_preset(mended)[1]
            left_paths = [x.path for x in left]
            assert issue not in left and len(left) < len(issues), (issue.text(), mend)
            assert left_paths.count(issue.path) < paths.count(issue.path), (issue.text(), mend)
            assert set(left_paths) <= set(paths), (issue.text(), mend)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_every_mend_removes_its_issue_and_adds_none(bad):
    assert_mends_are_good(bad.preset)


@pytest.mark.parametrize(
    ("path", "value", "mended"),
    [
        ("rearrange_method", "none", None), ("rearrange_method", "Semantic_Aware", "SemanticAware"),
        ("rearrange_method", 3, None), ("tail", "16", 16), ("tail", 33, 32), ("tail", None, "none"),
        ("block_size.m", 100, 128), ("mask_mode", "top_k", "topk"), ("second_moment", 1, True),
        ("warmup_steps", True, 0), ("warmup_steps", float("nan"), 0),
        pytest.param("tail", 10**5000, "none", id="huge"),
    ],
)  # fmt: skip
def test_what_was_probably_meant_is_offered(path, value, mended):
    preset = {}
    place(preset, path, value)
    (issue,) = issues_of(preset)
    assert [mend.changes for mend in issue.mends] == [{path: mended}]


def test_mends_of_clashes_add_none():
    """Every combination of the fields that rules across fields read."""
    clashes = 0
    for old, sim, m, n, tile, tail in itertools.product(
        (False, True), (False, True), (64, 128), (32, 64, 128), (16, 32, 64, 128),
        ("none", 8, 16, 32, 64, 128),
    ):  # fmt: skip
        preset = {
            "attn_impl": "old_mask_type" if old else "new_mask_type", "use_sim_mask": sim,
            "block_size": {"m": m, "n": n, "tile_n": tile}, "tail": tail,
        }  # fmt: skip
        assert_mends_are_good(preset)
        assert all(issue.mends for issue in check_preset(preset)[1]), preset
        clashes += bool(check_preset(preset)[1])
    assert clashes > 400


ENDS = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 0.75, 1.0, 1.2])
PAIRS = st.lists(ENDS, min_size=2, max_size=2) | st.just("junk")


@given(st.dictionaries(st.sampled_from((1, 2, 4, 8, 0)), PAIRS, min_size=1))
def test_mends_of_levels_add_none(ratios):
    preset = {"mask_ratios": ratios, "tail": 32}
    assert_mends_are_good(preset)
    assert all(issue.mends for issue in check_preset(preset)[1])


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_following_first_mends_leaves_what_has_none(bad):
    """Joints may need a few rounds: a mended level moves where its neighbour must start."""
    preset = copy.deepcopy(bad.preset)
    without = {issue.path for issue in issues_of(preset) if not issue.mends}
    twice = {issue.path for issue in issues_of(preset) if issue.found == "the level twice"}
    assert not without & VALUES - twice
    for _ in range(20):
        mends = [issue.mends[0] for issue in check_preset(preset)[1] if issue.mends]
        if not mends:
            break
        for path, value in mends[0].changes.items():
            place(preset, path, value)
    assert {issue.path for issue in check_preset(preset)[1]} <= without


def test_json_of_an_issue_is_plain():
    issue = issues_of({"tail": 64, "block_size": {"n": 32}})[0]
    assert issue.to_json() == {
        "path": "tail",
        "found": "64",
        "allowed": "it can be at most block_size.n = 32",
        "message": issue.text(),
        "mends": [
            {"label": "set tail to 32", "changes": {"tail": 32}},
            {"label": "set block_size.n to 64", "changes": {"block_size.n": 64}},
        ],
    }


# --- rules that are easier to read one by one -----------------------------------------------


def paths(preset) -> list[str]:
    return [issue.path for issue in check_preset(preset)[1]]


def test_the_similarity_mask_offers_both_ways_out():
    (issue,) = issues_of({"use_sim_mask": True})
    assert [dict(mend.changes) for mend in issue.mends] == [
        {"use_sim_mask": False},
        {"attn_impl": "old_mask_type", "block_size.m": 128, "block_size.n": 128},
    ]


def test_a_dotted_key_is_no_second_spelling():
    assert paths({"block_size.n": 32}) == ["block_size.n"]
    assert paths({"block_size": {"n": 64}, "block_size.n": 32}) == ["block_size.n"]


def test_both_breaches_of_one_level_are_told():
    issues = issues_of({"mask_ratios": {1: [0, 0.4], 0: [0.5, 0.9]}})
    assert [issue.path for issue in issues] == ["mask_ratios.0"] * 2
    assert "starts where level 1 ends, at 0.4" in issues[0].allowed
    assert "ends at 1" in issues[1].allowed


@pytest.mark.parametrize("order", [(1, 2, 4, 8, 0), (0, 8, 4, 2, 1), (4, 0, 1, 8, 2)])
def test_levels_are_read_in_their_own_order(order):
    pairs = {1: [0, 0.1], 2: [0.1, 0.2], 4: [0.2, 0.3], 8: [0.3, 0.4], 0: [0.4, 1]}
    config = PSAConfig.from_preset({"mask_ratios": {level: pairs[level] for level in order}})
    assert list(config.mask_ratios) == [1, 2, 4, 8, 0]
    assert config == PSAConfig(mask_ratios=pairs)


def test_json_spells_levels_as_text():
    assert PSAConfig.from_preset({"mask_ratios": {"1": [0, 0.5], "0": [0.5, 1]}}).mask_ratios == {
        1: (0.0, 0.5),
        0: (0.5, 1.0),
    }


def test_a_python_error_names_arguments():
    with pytest.raises(ConfigError) as error:
        PSAConfig(block_n=48, use_sim_mask=True, sim_2x_threshold=2)
    text = str(error.value)
    assert "block_n: found 48" in text and "sim_2x_threshold: found 2;" in text
    assert "set block_n to 64" in text and "set sim_2x_threshold to 1.0" in text
    assert "old_mask_type with block_m = block_n = 128" in text
    assert "block_size." not in text and "sim_thresholds." not in text
    # an editor still gets paths
    assert {
        path for issue in error.value.issues for mend in issue.mends for path in mend.changes
    } >= {"block_size.n", "sim_thresholds.x2"}


def test_numbers_beyond_a_float_are_ordinary_breaches():
    huge = 10**400  # float(huge) overflows
    hexadecimal = int("f" * 6000, 16)  # and this one is longer than Python will print
    preset = {"warmup_steps": hexadecimal, "sim_thresholds": {"x2": huge}}
    assert paths({**preset, "mask_ratios": {1: [0, huge]}, hexadecimal: 1})[1:] == [
        "mask_ratios.1", "warmup_steps", "sim_thresholds.x2",
    ]  # fmt: skip
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert paths({"tail": nested}) == ["tail"]
    while nested:  # taken apart by hand: freeing it at once recurses as deep
        nested = nested.pop()


def test_an_error_survives_a_worker_process():
    with pytest.raises(ConfigError) as caught:
        PSAConfig.from_preset({"tail": 5, "verbose": 1}, where="file.yaml")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.issues == caught.value.issues


# --- junk -----------------------------------------------------------------------------------

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary()
)
KNOWN = [part for field in FIELDS for part in (field.path, *field.path.split("."), field.argument)]
KEYS = st.sampled_from([*KNOWN, *LEVELS, *map(str, LEVELS)]) | SCALARS | st.tuples(SCALARS)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JUNK | st.dictionaries(KEYS, JUNK, max_size=8))
def test_junk_never_raises_anything_else(junk):
    arguments, issues = check_preset(junk)
    for issue in issues:
        assert issue.text() and issue.path in issue.text()
        issue.to_json()
    if issues:
        issues_of(junk)
    else:
        assert PSAConfig.from_preset(junk) == PSAConfig(**arguments)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from([field.argument for field in FIELDS]), JUNK, max_size=6))
def test_junk_arguments_raise_config_errors_only(arguments):
    try:
        PSAConfig(**arguments)
    except ConfigError as error:
        assert {issue.argument.split(".")[0] for issue in error.issues} <= {
            *arguments, "use_sim_mask", "block_m", "block_n", "tile_n", "tail", "mask_ratios",
        }  # fmt: skip
