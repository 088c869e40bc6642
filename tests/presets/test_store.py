"""The store over the shipped presets and a user's own."""

import pytest

from psa_kernels.config import PSAConfig
from psa_presets import (
    ABSENT,
    SHIPPED_DIR,
    CollisionError,
    ConflictError,
    NotFoundError,
    PresetStore,
    ReadOnlyError,
)  # fmt: skip

from .folders import CUSTOM, MINE, snapshot, write


def test_save_get_list_delete(store, user_dir):
    version = store.save("Wan2.1_14b", "mine", MINE)
    assert store.get("Wan2.1_14b", "mine") == MINE
    assert store.version("Wan2.1_14b", "mine") == version
    [family] = [f for f in store.list().families if f.name == "Wan2.1_14b"]
    mine = family.presets[-1]
    assert (mine.name, mine.origin, mine.file) == ("mine", "user", "Wan2.1_14b.yaml")
    assert (mine.version, mine.description, mine.is_default) == (version, MINE.description, False)
    assert [p.name for p in family.presets if p.is_default] == ["balanced"]
    assert "mine" in store.get_family("Wan2.1_14b").attention_configs
    assert PresetStore(SHIPPED_DIR, user_dir).get("Wan2.1_14b", "mine") == MINE
    # only what is the user's own is in the user's file
    assert (
        (user_dir / "Wan2.1_14b.yaml")
        .read_text("utf-8")
        .startswith("Wan2.1_14b:\n  attention_configs:\n    mine:\n      type: psa\n")
    )
    store.delete("Wan2.1_14b", "mine")
    with pytest.raises(NotFoundError):
        store.get("Wan2.1_14b", "mine")
    assert not list(user_dir.glob("*.yaml"))


def test_reading_makes_nothing(store, user_dir):
    store.list()
    store.get("Wan2.1_14b")
    assert not user_dir.exists()


def test_shipped_presets_are_read_only(store, user_dir):
    before = snapshot(SHIPPED_DIR)
    with pytest.raises(ReadOnlyError, match=r"shipped preset.*use another name"):
        store.save("Wan2.1_14b", "fast", MINE)
    with pytest.raises(ReadOnlyError):
        store.delete("Wan2.1_14b", "fast")
    with pytest.raises(CollisionError, match="FAST differs from the preset fast by case only"):
        store.save("Wan2.1_14b", "FAST", MINE)
    store.save("Wan2.1_14b", "mine", MINE)
    assert snapshot(SHIPPED_DIR) == before
    assert not list(user_dir.glob("*fast*"))


def test_unknown_names_are_answered_with_the_nearest(store):
    with pytest.raises(NotFoundError, match=r"no family 'wan2.1_14B'.*use Wan2.1_14b"):
        store.get("wan2.1_14B")
    with pytest.raises(NotFoundError, match=r"no preset 'balancd'.*use balanced"):
        store.get("Wan2.1_14b", "balancd")
    with pytest.raises(NotFoundError):
        store.save("Unheard-of", "mine", MINE)
    with pytest.raises(NotFoundError):
        store.delete("Wan2.1_14b", "nothing")
    with pytest.raises(NotFoundError):
        store.export("Wan2.1_14b", "nothing")


def test_expected_version(store, user_dir):
    first = store.save("Wan2.1_14b", "mine", MINE, expected=ABSENT)
    second = store.save("Wan2.1_14b", "mine", MINE.replace(warmup_steps=5), expected=first)
    assert second != first
    for expected in (first, ABSENT):
        with pytest.raises(ConflictError, match="changed by someone else"):
            store.save("Wan2.1_14b", "mine", MINE, expected=expected)
        with pytest.raises(ConflictError):
            store.delete("Wan2.1_14b", "mine", expected=expected)
    # another preset of the same file does not stand in the way
    store.save("Wan2.1_14b", "another", MINE)
    third = store.save("Wan2.1_14b", "mine", MINE, expected=second)
    text = (user_dir / "Wan2.1_14b.yaml").read_text("utf-8")
    write(user_dir, "Wan2.1_14b.yaml", text.replace("warmup_steps: 4", "warmup_steps: 9", 1))
    with pytest.raises(ConflictError):
        store.save("Wan2.1_14b", "mine", MINE, expected=third)
    store.delete("Wan2.1_14b", "mine", expected=store.version("Wan2.1_14b", "mine"))
    with pytest.raises(ConflictError):
        store.save("Wan2.1_14b", "mine", MINE, expected=third)


def test_a_custom_family(store, user_dir):
    write(user_dir, "anything.yml", CUSTOM)
    [family] = [f for f in store.list().families if f.name == "Hunyuan"]
    assert (family.origin, family.default, family.text_length) == ("user", "calm", 256)
    assert store.get("Hunyuan") == PSAConfig(type="dense")
    store.save("Hunyuan", "mine", MINE)
    assert [path.name for path in user_dir.glob("*.y*ml")] == ["anything.yml"]
    with pytest.raises(CollisionError, match="calm is the default of Hunyuan"):
        store.delete("Hunyuan", "calm")
    for preset in ("other", "mine", "calm"):
        store.delete("Hunyuan", preset)
    assert "Hunyuan" not in {f.name for f in store.list().families}
    assert not list(user_dir.glob("*.y*ml"))
