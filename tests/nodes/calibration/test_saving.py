"""What is saved while PSA Calibrate samples is not overwritten."""

import pytest


@pytest.mark.parametrize("replace", [False, True])
def test_a_preset_saved_meanwhile_stays(comfy_inproc, monkeypatch, tmp_path, replace):
    comfy_inproc.load_pack()
    from psa_pack.nodes import calibrate, store
    from psa_pack.nodes.preset_value import PresetValue
    from psa_pack.presets.errors import ConflictError

    monkeypatch.setattr(store, "user_folder", lambda: tmp_path)
    presets, family, name = store.preset_store(), "Wan2.1_14b", "mine"
    config = presets.get_family(family).attention_configs["balanced"]
    base = PresetValue(config, name="balanced", family=family)
    if replace:
        presets.save(family, name, config)
    version = calibrate._check(base, name, replace)
    theirs = config.replace(description="theirs")
    presets.save(family, name, theirs)
    with pytest.raises(ConflictError, match="changed meanwhile"):
        calibrate._save(family, name, config, version)
    assert presets.get_family(family).attention_configs[name] == theirs
    calibrate._save(family, name, config, calibrate._check(base, name, True))
    assert presets.get_family(family).attention_configs[name] == config
