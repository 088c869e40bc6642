"""A file is parsed once per change, a preset judged once; no edit goes unseen for that."""

import os
import sys
import threading

import pytest

from psa_kernels.config import FIELDS, PSAConfig
from psa_presets import SHIPPED_DIR, InvalidPresetError, PresetStore

from .folders import CUSTOM, MINE, write

FILES = sys.modules["psa_pack.presets.files"]
CONFIG = sys.modules["psa_pack.psa_kernels.config.psa_config"]


@pytest.fixture
def work(monkeypatch):
    """Names of the files parsed, and mappings of the presets judged, since the last clear()."""
    parsed, judged = [], []
    parse, check = FILES.parse, CONFIG.check_preset
    monkeypatch.setattr(FILES, "parse", lambda *given: parsed.append(given[1]) or parse(*given))
    monkeypatch.setattr(CONFIG, "check_preset", lambda m: judged.append(m) or check(m))
    monkeypatch.setattr(CONFIG, "check_arguments", lambda *given: judged.append(given) or ({}, []))
    return parsed, judged


def test_asking_again_parses_and_judges_nothing(store, user_dir, work):
    write(user_dir, "mine.yaml", CUSTOM)
    store.list()
    parsed, judged = work
    parsed.clear(), judged.clear()
    for _ in range(3):
        listing = store.list()
        for family in listing.families:
            for preset in family.presets:
                store.find(family.name, preset.name)
                store.get(family.name, preset.name).for_block(3)
            store.get_family(family.name)
    other = PresetStore(SHIPPED_DIR, user_dir)
    assert other.list() == listing
    assert (parsed, judged) == ([], [])


def test_a_changed_file_is_parsed_alone_and_once(store, user_dir, work):
    write(user_dir, "mine.yaml", CUSTOM)
    write(user_dir, "other.yaml", CUSTOM.replace("Hunyuan", "Other"))
    store.list()
    parsed, judged = work
    parsed.clear(), judged.clear()
    write(user_dir, "mine.yaml", CUSTOM.replace("tail: 32", "tail: 16"))
    assert store.get("Hunyuan", "other").tail == 16
    store.list(), store.get("Other")
    assert parsed == ["mine.yaml"]
    assert judged == [{"type": "dense"}, {"tail": 16}]


def test_what_a_save_wrote_is_not_parsed_to_be_read(store, user_dir, work):
    store.save("Wan2.1_14b", "mine", MINE)
    parsed, _ = work
    parsed.clear()
    assert store.get("Wan2.1_14b", "mine") == MINE
    assert parsed == []
    # an editor that keeps the time and the size
    path = user_dir / "Wan2.1_14b.yaml"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"warmup_steps: 4", b"warmup_steps: 5"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.get("Wan2.1_14b", "mine").warmup_steps == 5


def test_every_kind_of_edit_is_seen(store, user_dir):
    """In an old file too: another time, size or inode is enough."""
    path = user_dir / "mine.yaml"
    write(user_dir, "mine.yaml", CUSTOM)
    os.utime(path, (1e9, 1e9))
    assert store.get("Hunyuan", "other").tail == 32
    write(user_dir, "mine.yaml", CUSTOM.replace("32", "16"))  # a later time
    assert store.get("Hunyuan", "other").tail == 16
    os.utime(path, (1e9, 1e9))
    assert store.get("Hunyuan", "other").tail == 16
    write(user_dir, "mine.yaml", CUSTOM.replace("32", "8"))  # another size
    os.utime(path, (1e9, 1e9))
    assert store.get("Hunyuan", "other").tail == 8
    write(user_dir, "next", CUSTOM.replace("32", "4"))
    os.utime(user_dir / "next", (1e9, 1e9))
    os.replace(user_dir / "next", path)  # another file of that size and time
    with pytest.raises(InvalidPresetError, match="tail: found 4"):
        store.get("Hunyuan", "other")
    path.unlink()
    assert "Hunyuan" not in {family.name for family in store.list().families}


@pytest.mark.parametrize("family", ["Wan2.1_14b", "Wan2.2_A14B"])
def test_blocks_take_what_the_validator_found(store, family):
    config = PSAConfig(
        blocks={"0-1": "dense", 5: {"tail": 16, "mask_ratios": {1: [0, 0.5], 0: [0.5, 1]}}}
    )
    assert config.for_block(0) == PSAConfig(type="dense")
    assert config.for_block(5) == PSAConfig(tail=16, mask_ratios={1: (0, 0.5), 0: (0.5, 1)})
    assert config.for_block(9) == PSAConfig()
    # what is built without a second look is what the constructor builds
    for config in store.get_family(family).attention_configs.values():
        given = {field.argument: getattr(config, field.argument) for field in FIELDS}
        assert PSAConfig(**given) == config and hash(PSAConfig(**given)) == hash(config)
        kept = {"_of_blocks", "of_ranges", "_hash"}  # what has been asked for
        assert vars(PSAConfig(**given)).keys() - kept == vars(config).keys() - kept


def test_the_lock_is_not_held_while_files_are_parsed(user_dir, monkeypatch):
    """Fresh stores that save at once: none may wait for another one's reading."""
    FILES.folder_at.cache_clear()
    write(user_dir, "mine.yaml", CUSTOM)
    held, parsed_with_lock = threading.local(), []
    parse, one_writer = FILES.parse, sys.modules["psa_pack.presets.store"].one_writer

    def noted(*given):
        if getattr(held, "now", False):
            parsed_with_lock.append(given[1])
        return parse(*given)

    class noting:  # noqa: N801
        def __init__(self, folder):
            self.lock = one_writer(folder)

        def __enter__(self):
            self.lock.__enter__()
            held.now = True

        def __exit__(self, *error):
            held.now = False
            return self.lock.__exit__(*error)

    monkeypatch.setattr(FILES, "parse", noted)
    monkeypatch.setattr(sys.modules["psa_pack.presets.store"], "one_writer", noting)
    failed = []

    def save(number):
        try:
            PresetStore(SHIPPED_DIR, user_dir).save("Wan2.1_14b", f"p{number}", MINE)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    # nothing but, at most, what the others saved in between
    assert set(parsed_with_lock) <= {"Wan2.1_14b.yaml"}
    names = PresetStore(SHIPPED_DIR, user_dir).get_family("Wan2.1_14b").attention_configs
    assert {f"p{number}" for number in range(6)} <= names.keys()
