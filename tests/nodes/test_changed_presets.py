"""A preset of ours that is another than it was says so, once a process."""

import logging

import pytest

from ..presets.former import former


@pytest.fixture
def load(comfy_inproc, monkeypatch, caplog):
    """load(family, preset): the lines of the console that the node's run adds."""
    node = comfy_inproc.node("PSAPresetLoader")
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
    found = former()
    assert list(found) == ["fast", "balanced", "faithful", "lora_4step"]
    assert found["balanced"].mask_ratios == {1: (0, 0.12), 8: (0.12, 0.48), 0: (0.48, 1)}
    assert found["faithful"].tail == 8 and found["fast"].second_moment
