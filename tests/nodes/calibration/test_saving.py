"""What is saved while PSA Calibrate samples is not overwritten."""

import pytest

from psa_pack.nodes.preset_value import PresetValue
from psa_presets.errors import ConflictError, StorageError


@pytest.mark.parametrize("replace", [False, True])
def test_a_preset_saved_meanwhile_stays(monkeypatch, tmp_path, replace):
    from psa_pack.nodes import calibrate, store

    monkeypatch.setattr(store, "user_folder", lambda: tmp_path)
    presets, family, name = store.preset_store(), "Wan2.1_14b", "mine"
    config = presets.get_family(family).attention_configs["balanced"]
    base = PresetValue(config, name="balanced", family=family)
    if replace:
        presets.save(family, name, config)
    version = calibrate._check(base, name, replace)
    theirs = config.replace(description="theirs")
    presets.save(family, name, theirs)
    with pytest.raises(ConflictError, match="changed by someone else"):
        calibrate._save(family, name, config, version)
    assert presets.get_family(family).attention_configs[name] == theirs
    calibrate._save(family, name, config, calibrate._check(base, name, True))
    assert presets.get_family(family).attention_configs[name] == config


def test_a_file_that_cannot_take_the_result_is_told_before_sampling(monkeypatch, tmp_path):
    from psa_pack.nodes import calibrate, store

    monkeypatch.setattr(store, "user_folder", lambda: tmp_path)
    file = tmp_path / store.FOLDER / "Wan2.1_14b.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("Wan2.1_14b:\n  text_length: oops\n  attention_configs:\n    a: {tail: 8}\n")
    before = file.read_bytes()
    config = store.preset_store().get("Wan2.1_14b", "balanced")
    base = PresetValue(config, name="balanced", family="Wan2.1_14b")
    with pytest.raises(StorageError, match="'oops'"):
        calibrate._check(base, "mine", False)
    # broken while it samples: nothing is written either
    with pytest.raises(StorageError, match="'oops'"):
        calibrate._save("Wan2.1_14b", "mine", config, None)
    assert file.read_bytes() == before
