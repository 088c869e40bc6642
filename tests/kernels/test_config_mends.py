"""No mend changes a value by more than its defect: what is written otherwise comes back as it was.

Valid values are drawn, written in a way that a field refuses, and the first mend must give them
back.
"""

import copy
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psa_kernels.config import FIELD_BY_PATH, FIELDS, OddNumber, PSAConfig, check_preset

from ..bad_presets import place

EXAMPLES = settings(max_examples=300, deadline=None)
LEVELS = (1, 2, 4, 8, 0)


def first_mend(preset):
    issues = check_preset(preset)[1]
    assert issues, preset
    mended = copy.deepcopy(preset)
    for path, value in issues[0].mends[0].changes.items():
        place(mended, path, value)
    return mended


def value_at(preset, path):
    for part in path.split("."):
        preset = preset[part]
    return preset


def decimal_comma(number):
    return f"{number:.4f}".replace(".", ",")


# ways to write a number as a text that reads as it
NUMBER_TEXTS = (
    str, repr, lambda x: f" {x} ", lambda x: f"{x:.17g}", lambda x: f"{x:e}", lambda x: f"+{x}",
    lambda x: f"{x}\n", lambda x: f"“{x}”", lambda x: f"{x};", lambda x: f'"{x}"',
)  # fmt: skip
FULL_WIDTH = {ord("0") + i: 0xFF10 + i for i in range(10)}
WHOLE_TEXTS = (
    *NUMBER_TEXTS[:4], lambda x: f"{x}.0", hex, oct, bin, lambda x: f"{x:_}", lambda x: f"{x:,}",
    lambda x: f"{x} steps", lambda x: str(x).translate(FULL_WIDTH),
    float, lambda x: f"{x:e}", lambda x: OddNumber(f"0{x}_"), lambda x: OddNumber(f"{x}_"),
)  # fmt: skip


@EXAMPLES
@given(st.integers(0, 1000), st.sampled_from(WHOLE_TEXTS))
def test_whole_numbers_written_otherwise(number, write):
    if write is WHOLE_TEXTS[-2] and number < 8:
        return  # 07_ is seven to everyone
    mended = first_mend({"warmup_steps": write(number)})
    assert mended == {"warmup_steps": number}
    assert type(mended["warmup_steps"]) is int


@EXAMPLES
@given(
    st.floats(-1, 1).filter(lambda x: x == 0 or abs(x) > 1e-300),
    st.sampled_from(NUMBER_TEXTS),
    st.sampled_from((2, 4, 8)),
)
def test_floats_written_otherwise(number, write, level):
    if number < 0 and write(1.0).startswith("+"):
        return
    path = f"x{level}"
    text = write(number)
    [mended] = first_mend({"sim_thresholds": {path: text}})["sim_thresholds"].values()
    assert mended == (number if write is not NUMBER_TEXTS[4] else float(f"{number:e}"))


@EXAMPLES
@given(st.integers(-9999, 9999).map(lambda x: x / 10_000))
def test_decimal_commas_and_per_cent(number):
    for text in (decimal_comma(number), f"{number * 100:.4f}%", f"{number * 100:.4f} %"):
        [mended] = first_mend({"sim_thresholds": {"x2": text}})["sim_thresholds"].values()
        assert mended == pytest.approx(number, abs=1e-12)


@EXAMPLES
@given(st.floats(-1e9, 1e9), st.sampled_from(["sim_thresholds.x4", "warmup_steps"]))
def test_what_is_out_of_range_goes_to_the_nearest_end(number, path):
    field = FIELD_BY_PATH[path]
    preset = {}
    place(preset, path, number)
    if not check_preset(preset)[1]:
        return
    nearest = min(max(number, field.low), field.high)
    mended = value_at(first_mend(preset), path)
    assert abs(mended - nearest) <= (0.5 if field.kind == "int" else 0)


CHOICES = [field for field in FIELDS if field.kind == "choice"]
OTHERWISE = {
    str: (str.upper, str.lower, str.title, lambda x: f" {x} ", lambda x: x.replace("_", "-"),
          lambda x: x.replace("_", " "), lambda x: x.replace("_", ""), lambda x: f"'{x}'",
          lambda x: x + x[-1], lambda x: x[:-1]),
    int: (str, float, lambda x: f"{x}.0", lambda x: f" {x}", lambda x: f"{x} tokens", hex),
    type(None): (lambda x: "null", lambda x: "None", lambda x: "off", lambda x: False),
}  # fmt: skip


@pytest.mark.parametrize("field", CHOICES, ids=lambda field: field.path)
def test_every_choice_written_otherwise(field):
    """Whatever the other fields are: they may change, too, where the choice needs it."""
    tried = 0
    for choice in field.choices:
        for write in OTHERWISE[type(choice)]:
            preset = {}
            place(preset, field.path, write(choice))
            if not check_preset(preset)[1]:
                continue  # `upper` of STA, say
            tried += 1
            mended = first_mend(preset)
            # a tile of 128 does not go with the key block of 64: there the nearest that does
            wanted = 64 if (field.path, choice) == ("block_size.tile_n", 128) else choice
            assert value_at(mended, field.path) == wanted, (preset, mended)
            assert check_preset(mended)[1] == []
    assert tried >= 2 * len(field.choices)


@pytest.mark.parametrize(("text", "value"), [
    ("True ", True), ("yes", True), ("ON", True), ("y", True), ("ture", True), ("enabled", True),
    ("1", True), (1.0, True), ("False ", False), ("no", False), ("off", False), ("flase", False),
    ("N", False), ("disabled", False), (0, False), ("0.0", False), ("fals", False),
])  # fmt: skip
def test_booleans_written_otherwise(text, value):
    for path in ("use_rearrange", "second_moment"):
        assert first_mend({path: text}) == {path: value}


@EXAMPLES
@given(st.lists(st.integers(1, 1024), min_size=3, max_size=3), st.data())
def test_tiles_written_otherwise(tile, data):
    write = data.draw(st.sampled_from((
        lambda t: ",".join(map(str, t)), lambda t: "x".join(map(str, t)), str, tuple,
        lambda t: " ".join(map(str, t)), lambda t: [float(x) for x in t],
        lambda t: [t[0], str(t[1]), t[2]], lambda t: [OddNumber(f"{t[0]}_"), *t[1:]],
    )))  # fmt: skip
    preset = {"tile_size": write(tile)}
    if check_preset(preset)[1]:
        assert first_mend(preset) == {"tile_size": tile}


@pytest.mark.parametrize(("value", "text"), [
    (5, "5"), (0.5, "0.5"), (True, "true"), (["a", "b"], "a, b"), (None, ""), ([1, 2], "1, 2"),
])  # fmt: skip
def test_texts_written_otherwise(value, text):
    assert first_mend({"description": value}) == {"description": text}


# --- levels ---------------------------------------------------------------------------------


@st.composite
def partitions(draw):
    """Levels and bounds with four digits, none of them so that a per cent could be meant."""
    levels = draw(st.lists(st.sampled_from(LEVELS), min_size=2, unique=True))
    levels = [level for level in LEVELS if level in levels]
    cuts = sorted(draw(st.lists(st.integers(1, 9999), min_size=len(levels) - 1,
                                max_size=len(levels) - 1)))  # fmt: skip
    bounds = [0.0, *(cut / 10_000 for cut in cuts), 1.0]
    return {level: [bounds[i], bounds[i + 1]] for i, level in enumerate(levels)}


PAIRS = (
    lambda a, b: [str(a), b], lambda a, b: [a, str(b)], lambda a, b: [f"{a:.6e}", f"{b:.6e}"],
    lambda a, b: [a, decimal_comma(b)], lambda a, b: [f"{a * 100:.4f}%", f"{b * 100:.4f}%"],
    lambda a, b: f"{a}-{b}", lambda a, b: f"[{a}, {b}]", lambda a, b: f"{a} to {b}",
    lambda a, b: [b, a], lambda a, b: b, lambda a, b: str(b), lambda a, b: [f"{a},{b}"],
    lambda a, b: [OddNumber("0_0"), b] if a == 0 else [a, f" {b}"],
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(partitions(), st.sampled_from(PAIRS), st.data())
def test_levels_written_otherwise(ratios, write, data):
    level = data.draw(st.sampled_from(list(ratios)))
    preset = {"mask_ratios": {**ratios, level: write(*ratios[level])}, "tail": 32}
    if check_preset(preset)[1]:
        mended = first_mend(preset)["mask_ratios"]
        assert list(mended) == list(preset["mask_ratios"]) or mended.keys() == ratios.keys()
        for key, pair in ratios.items():
            assert mended[key] == pytest.approx(pair, abs=1e-9), (preset, mended)


@pytest.mark.parametrize(("ratios", "mended"), [
    ({1: [0, "1e-1"], 0: [0.1, 1]}, {1: [0, 0.1], 0: [0.1, 1]}),
    # a gap beside it goes to the neighbour: what can be read stays
    ({1: [0, "1e-1"], 0: [0.4, 1]}, {1: [0, 0.1], 0: [0.1, 1]}),
    ({1: [0, "0.3"], 2: [0.4, 0.5], 0: [0.5, 1]}, {1: [0, 0.3], 2: [0.3, 0.5], 0: [0.5, 1]}),
    ({1: [0, 10], 0: [0.1, 1]}, {1: [0, 0.1], 0: [0.1, 1]}),
    ({1: [0, 1.2], 0: [1, 1]}, {1: [0, 1.0], 0: [1, 1]}),
    # what cannot be read joins its neighbours
    ({1: [0, 0.4], 2: "half", 0: [0.7, 1]}, {1: [0, 0.4], 2: [0.4, 0.7], 0: [0.7, 1]}),
])  # fmt: skip
def test_the_numbers_of_a_level_stay(ratios, mended):
    found = first_mend({"mask_ratios": ratios, "tail": 32})["mask_ratios"]
    assert {level: list(pair) for level, pair in found.items()} == mended


def test_noise_is_no_breach_whatever_bound_it_is_at():
    """One tolerance: at joints, inside of pairs, at both ends, at thresholds."""
    rng = random.Random(8)
    for _ in range(300):
        cuts = sorted(rng.uniform(0, 1) for _ in range(4))
        bounds = [0.0, *cuts, 1.0]
        noise = lambda: rng.uniform(-9e-10, 9e-10) / 2  # noqa: E731
        ratios = {
            level: [bounds[i] + noise(), bounds[i + 1] + noise()] for i, level in enumerate(LEVELS)
        }
        ratios[4] = [bounds[3] + noise()] * 2  # as good as empty
        ratios[2][1] = ratios[4][0]
        ratios[8][0] = ratios[4][0] + noise()
        preset = {"mask_ratios": ratios, "sim_thresholds": {"x2": 1 + 4e-10, "x8": -1 - 4e-10}}
        config = PSAConfig.from_preset(preset)
        assert all(0 <= low <= high <= 1 for low, high in config.mask_ratios.values())
        assert (config.sim_2x_threshold, config.sim_8x_threshold) == (1.0, -1.0)
        assert PSAConfig.from_preset(config.to_preset()) == config
    for wrong in ({1: [0, 1.00000001]}, {1: [-1e-8, 1]}, {1: [0, 0.4], 0: [0.40000001, 1]}):
        assert check_preset({"mask_ratios": wrong})[1]
    assert check_preset({"sim_thresholds": {"x2": 1.00000001}})[1]


def test_a_mend_keeps_the_value_and_changes_what_clashes_with_it():
    [issue] = check_preset({"block_size": {"n": "32"}, "tail": 64})[1]
    assert issue.mends[0].changes == {"block_size.n": 32, "tail": 32}
    assert issue.mends[0].label == "set block_size.n to 32 and tail to 32"
    [issue] = check_preset({"tail": "128"})[1]
    assert issue.mends[0].changes == {"tail": 128, "block_size.n": 128}


@pytest.mark.parametrize(("value", "dense"), [
    ("Dense", True), (None, True), (True, True), ("psa", False), (False, False), ("off", False),
])  # fmt: skip
def test_a_block_that_is_not_dense_is_not_made_dense(value, dense):
    [issue] = check_preset({"blocks": {3: value}})[1]
    assert [mend.changes for mend in issue.mends] == [{"blocks.3": "dense"}] * dense
