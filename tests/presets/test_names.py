"""Names are untrusted: none leaves the alphabet, none leaves the folder."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from psa_kernels.config import PSAConfig
from psa_presets import PresetError, PresetNameError
from psa_presets.names import name_breach

BAD = [
    "", " ", ".", "..", "../x", "..\\x", "/etc/passwd", "C:\\x", "C:x", "a/b", "a\\b", "a\0b",
    "\0", ".hidden", "x.", "x ", " x", "a\nb", "a\n", "a\tb", "x" * 65, "CON", "con", "nul.yaml",
    "Aux.x.y", "COM1", "lpt9.txt", "con .x", "a:b", "a*b", "a?b", "~", "$HOME", "%2e%2e", "a;b",
    "<<",
    # letters and dots that look or fold like ours
    "\u00e9", "\uff41", "a\u202eb", "\u2024\u2024", "a\uff0fb", "\ufe52", "\u212a", "\u00b2",
    "COM\u00b9", "\ud800",
    None, 5, True, ["x"], b"x",
]  # fmt: skip
GOOD = ["a", "Wan2.1_14b", "my preset 2", "x-y_z.w", "x" * 64, "console", "COM10", "1", "on", "_"]


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_bad_names(store, name, user_dir):
    assert name_breach(name)
    for attempt in (
        lambda: store.save("Wan2.1_14b", name, PSAConfig()),
        lambda: store.save(name, "mine", PSAConfig()),
        lambda: store.delete("Wan2.1_14b", name),
        lambda: store.import_text("type: dense", "Wan2.1_14b", name if name is not None else ""),
    ):
        with pytest.raises(PresetNameError, match="name"):
            attempt()
    if name is not None:
        with pytest.raises(PresetError):
            store.get("Wan2.1_14b", name)
    with pytest.raises(PresetError):
        store.get(name)
    assert not user_dir.exists()


@pytest.mark.parametrize("name", GOOD)
def test_good_names_round_trip(store, name):
    config = PSAConfig(warmup_steps=3)
    store.save("Wan2.1_14b", name, config)
    assert store.get("Wan2.1_14b", name) == config
    assert store.list().problems == ()


@pytest.mark.parametrize("name", ["default", "Default", "DEFAULT"])
def test_default_is_reserved(store, name):
    with pytest.raises(PresetNameError, match="stands for"):
        store.save("Wan2.1_14b", name, PSAConfig())


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.text(st.sampled_from("aB1._- /\\:\0\u00e9\u2024~\n%"), max_size=6) | st.text(max_size=80),
    st.text(st.sampled_from("aB1._- /\\:\0\u00e9\u2024~\n%"), max_size=6) | st.text(max_size=80),
)
def test_no_name_writes_outside(store, tmp_path, family, preset):
    custom = (
        "default_attention: p\nvideo_scale: {width_divisor: 8, height_divisor: 8, depth_divisor: 4}"
        "\ntext_length: 0\nattention_configs: {p: {type: dense}}\n"
    ).replace("\n", "\n  ")
    for attempt in (
        lambda: store.save("Wan2.1_14b", preset, PSAConfig()),
        lambda: store.import_text("type: dense", family, preset),
        lambda: store.import_text(f"{family}:\n  {custom}"),
        lambda: store.delete(family, preset),
        lambda: store.export(family, preset),
    ):
        try:
            attempt()
        except PresetError as error:
            assert str(error)
    assert os.listdir(tmp_path) in ([], ["user"])
    assert not (tmp_path / "user").exists() or os.listdir(tmp_path / "user") == ["psa"]
    for path in (tmp_path / "user" / "psa").glob("*"):
        assert path.is_file()
        assert path.name == ".presets.lock" or not name_breach(path.name.removesuffix(".yaml"))
