"""Texts that come in by paste or drop, and go out: all or nothing."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from psa_kernels.config import PSAConfig, check_preset
from psa_presets import (
    SHIPPED_DIR,
    CollisionError,
    InvalidPresetError,
    NotFoundError,
    PresetError,
    PresetNameError,
    PresetStore,
    StorageError,
    TextError,
)  # fmt: skip
from psa_presets.yaml_text import dump, parse

from .figures import FAMILIES, PRESETS, renamed_single_file, single_file
from .folders import CUSTOM, MINE, write, yaml_files


def test_single_preset(store):
    imported = store.import_text(dump(MINE.to_preset()), "Wan2.1_14b", "mine")
    assert imported.saved == (("Wan2.1_14b", "mine"),)
    assert store.get("Wan2.1_14b", "mine") == MINE
    assert store.export("Wan2.1_14b", "mine") == dump(MINE.to_preset())
    again = store.import_text(store.export("Wan2.1_14b", "mine"), "Wan2.1_14b", "mine")
    assert (again.saved, again.skipped) == ((), (("Wan2.1_14b", "mine"),))


def test_the_authors_single_file(store, user_dir):
    imported = store.import_text(single_file())
    assert imported.saved == ()
    assert len(imported.skipped) == len(PRESETS) + len(FAMILIES)
    assert [note.what for note in imported.notes] == [
        f"default_attention of the family {family} stays balanced" for family in FAMILIES
    ]
    assert yaml_files(user_dir) == {}


def test_a_single_file_with_presets_of_its_own(store, user_dir):
    imported = store.import_text(renamed_single_file())
    assert len(imported.saved) == len(PRESETS) + len(FAMILIES)
    assert len(imported.notes) == len(FAMILIES)  # the shipped default stays
    assert "default_attention of the family Wan2.1_14b stays balanced" in str(imported.notes[0])
    assert set(yaml_files(user_dir)) == {f"{family}.yaml" for family in FAMILIES}
    assert store.list().problems == ()
    for family, preset, *_ in PRESETS:
        theirs = store.get(family, f"their {preset}")
        ours = store.get(family, preset)
        assert theirs == ours.replace(description=theirs.description, verbose=True)


def test_a_single_file_for_families_nobody_knows(tmp_path):
    (tmp_path / "shipped").mkdir()
    store = PresetStore(tmp_path / "shipped", tmp_path / "user")
    store.import_text(single_file())
    full = PresetStore(SHIPPED_DIR, tmp_path / "none")
    for family, preset, *_ in PRESETS:
        theirs = store.get(family, preset)
        assert theirs.verbose is True
        ours = full.get(family, preset)
        assert theirs == ours.replace(description=theirs.description, verbose=True)
    for family in FAMILIES:
        assert store.get_family(family).video_scale == full.get_family(family).video_scale


def test_family_round_trip(store, tmp_path):
    store.save("Wan2.1_14b", "mine", MINE)
    text = store.export("Wan2.1_14b")
    (tmp_path / "empty").mkdir()
    other = PresetStore(tmp_path / "empty", tmp_path / "other")
    other.import_text(text)
    assert other.get_family("Wan2.1_14b") == store.get_family("Wan2.1_14b")
    assert other.export("Wan2.1_14b") == text


def test_a_key_beside_the_families_is_taken_over_by_nobody(store, user_dir):
    with pytest.raises(InvalidPresetError, match="text_length is here without a family"):
        store.import_text("text_length: 512\n" + CUSTOM)
    assert yaml_files(user_dir) == {}


def test_custom_family(store, user_dir):
    store.import_text(CUSTOM)
    assert set(yaml_files(user_dir)) == {"Hunyuan.yaml"}
    assert store.get("Hunyuan").type == "dense"
    assert store.get_family("Hunyuan").text_length == 256


def test_all_or_nothing(store, user_dir):
    store.import_text(CUSTOM)
    before = yaml_files(user_dir)
    text = (
        "Wan2.1_14b:\n  attention_configs:\n    new: {tail: 32}\n    fast: {tail: 8}\n"
        "Hunyuan:\n  attention_configs:\n    calm: {tail: 8}\n    Other: {tail: 8}\n    fine: {}\n"
    )
    with pytest.raises(CollisionError) as caught:
        store.import_text(text)
    assert [(p.line, p.preset) for p in caught.value.problems] == [
        (4, "fast"),
        (7, "calm"),
        (8, "Other"),
    ]
    with pytest.raises(InvalidPresetError) as caught:
        store.import_text(text.replace("fine: {}", "fine: {tail: 5}"))
    assert [p.line for p in caught.value.problems] == [9, 4, 7, 8]
    [issue] = caught.value.issues
    assert issue.path == "Hunyuan.attention_configs.fine.tail"
    assert yaml_files(user_dir) == before


def test_replace_overwrites_the_users_own_only(store):
    store.save("Wan2.1_14b", "mine", MINE)
    text = "Wan2.1_14b:\n  attention_configs:\n    mine: {warmup_steps: 9}\n"
    with pytest.raises(CollisionError):
        store.import_text(text)
    store.import_text(text, replace=True)
    assert store.get("Wan2.1_14b", "mine").warmup_steps == 9
    with pytest.raises(CollisionError):
        store.import_text(text.replace("mine", "fast"), replace=True)
    with pytest.raises(CollisionError):
        store.import_text(text.replace("mine", "MINE"), replace=True)


@pytest.mark.parametrize(
    ("text", "names", "error", "words"),
    [
        ("type: psa\ntail: 32\n", (), InvalidPresetError, "say which family and name"),
        (CUSTOM, ("Wan2.1_14b", "x"), InvalidPresetError, "without a family and a name"),
        ("type: psa\n", ("Wan2.1_14b",), PresetNameError, "preset name"),
        ("type: psa\n", (None, "x"), PresetNameError, "family name"),
        ("type: psa\n", ("Unknown", "x"), NotFoundError, "no family 'Unknown'"),
        ("tail: 5\n", ("Wan2.1_14b", "x"), InvalidPresetError, "line 1: Wan2.1_14b.attention"),
        ("type: psa\ntype: psa\n", ("Wan2.1_14b", "x"), TextError, "line 2: the key type"),
        ("X: {attention_configs: {a: {}}}\n", (), InvalidPresetError, "X.video_scale"),
        (CUSTOM + CUSTOM.replace("Hunyuan", "HUNYUAN"), (), CollisionError, "by case only"),
        ("../../x:\n  a: 1\n", (), InvalidPresetError, "a name is made of"),
        ("5: {a: 1}\n", (), InvalidPresetError, "a name is text"),
    ],
)
def test_refusals(store, user_dir, text, names, error, words):
    with pytest.raises(error, match=words):
        store.import_text(text, *names)
    assert yaml_files(user_dir) == {}


NAMED = "my fast one:\n  type: psa\n  tail: 32\n  warmup_steps: 4\n"


def test_a_preset_with_its_name_above(store):
    """It needs a family to go to; its name in the text is passed over."""
    with pytest.raises(InvalidPresetError, match="single preset") as caught:
        store.import_text(NAMED)
    assert len(caught.value.problems) == 1
    store.import_text(f"```yaml\n{NAMED}```", "Wan2.1_14b", "fast one")
    assert store.get("Wan2.1_14b", "fast one") == PSAConfig(tail=32, warmup_steps=4)
    with pytest.raises(InvalidPresetError, match=r"line 3: .*fast two\.tail: found 33"):
        store.import_text(NAMED.replace("32", "33"), "Wan2.1_14b", "fast two")
    [issue] = check_preset(parse(NAMED).data)[1]
    assert "a name above a preset" in issue.text() and "leave out this line" in issue.text()
    with pytest.raises(InvalidPresetError) as caught:
        store.import_text(NAMED + NAMED.replace("fast", "slow"))
    assert [(p.line, p.family) for p in caught.value.problems] == [
        (1, "my fast one"),
        (5, "my slow one"),
    ]


@pytest.mark.parametrize(("name", "nearest"), [
    ("wan2.1_1.3b", "Wan2.1_1.3b"), ("Wan2.2_14B", "Wan2.2_A14B"), ("LTX-Vide", "LTX-Video"),
])  # fmt: skip
def test_a_family_that_is_nearly_right(store, user_dir, name, nearest):
    text = f"# mine\n{name}:\n  attention_configs:\n    p: {{tail: 16}}\n"
    with pytest.raises((InvalidPresetError, CollisionError)) as caught:
        store.import_text(text)
    [problem] = caught.value.problems
    assert problem.line == 2 and f"rename it to {nearest}" in problem.mend
    if name.lower() == nearest.lower():
        return
    # with all that a family needs, it is one; but not beside a file that has it without that
    header = CUSTOM.partition("  attention_configs")[0].replace("Hunyuan", name)
    whole = header.replace("calm", "p") + text.partition(f"{name}:\n")[2]
    write(user_dir, "mine.yaml", text)
    with pytest.raises(StorageError, match=f"rename it to {nearest}"):
        store.import_text(whole)
    (user_dir / "mine.yaml").unlink()
    assert store.import_text(whole).saved == ((name, "p"),)


def test_a_file_whose_name_windows_made_longer(store, user_dir):
    write(user_dir, "my.yaml.txt", CUSTOM)
    write(user_dir, "notes.txt", "not a preset")
    [problem] = store.list().problems
    assert str(problem).startswith("my.yaml.txt: it is not read")
    assert problem.mend == "rename it to my.yaml"


KEYS = st.sampled_from(
    ["default_attention", "video_scale", "text_length", "attention_configs", "type", "tail", "fast",
     "Wan2.1_14b", "Hunyuan", "calm", "mask_ratios", "block_size", "n", "width_divisor", 1, 8]
)  # fmt: skip
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.dictionaries(KEYS | st.text(max_size=5), DATA, max_size=3), single=st.booleans())
def test_any_data_is_taken_or_refused(store, data, single):
    fast = store.get("Wan2.1_14b", "fast")
    try:
        store.import_text(dump(data), *(("Wan2.1_14b", "mine") if single else ()), replace=True)
    except PresetError as error:
        assert str(error)
    assert store.list().problems == ()
    assert store.get("Wan2.1_14b", "fast") == fast
