"""A preset of ours that is another than it was says so, once a process."""

import logging

import pytest
import yaml

from ..pack_import import ROOT


@pytest.fixture
def load(bench, monkeypatch, caplog):
    """load(family, preset): the lines of the console that the node's run adds."""
    node = bench.comfy.node("PSAPresetLoader")
    import sys

    module = sys.modules[node.__module__]
    monkeypatch.setattr(module, "_noticed", set())

    def run(family, preset):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="PSA"):
            node.execute(family, preset)
        return [r.getMessage() for r in caplog.records if "has new settings" in r.getMessage()]

    return run


def test_it_is_said_once(load):
    (line,) = load("Wan2.1_14b", "faithful")
    assert "Wan2.1_14b/faithful" in line and "docs/former-presets.md" in line
    assert load("Wan2.1_14b", "faithful") == load("HunyuanVideo", "faithful") == []
    assert len(load("HunyuanVideo", "fast")) == 1


@pytest.mark.parametrize("preset", ["baseline", "psa_balanced"])
def test_what_stays_as_it_was_says_nothing(load, preset):
    assert load("Wan2.1_14b", preset) == []


def test_the_former_settings_load_from_the_page():
    from psa_kernels import PSAConfig

    page = (ROOT / "docs" / "former-presets.md").read_text(encoding="utf-8")
    text = page.split("```yaml\n")[1].split("```")[0]
    (family,) = yaml.safe_load(text).values()
    found = {n: PSAConfig.from_preset(c) for n, c in family["attention_configs"].items()}
    assert list(found) == [f"former_{n}" for n in ("fast", "balanced", "faithful", "lora_4step")]
    assert found["former_balanced"].mask_ratios == {1: (0, 0.12), 8: (0.12, 0.48), 0: (0.48, 1)}
    assert found["former_faithful"].tail == 8 and found["former_fast"].second_moment
