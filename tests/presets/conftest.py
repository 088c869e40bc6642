import sys

import pytest

from psa_presets import SHIPPED_DIR, PresetStore


@pytest.fixture(autouse=True)
def _patient_writers(monkeypatch):
    """When many save at once, the last one waits for all the others: long, on a busy machine."""
    monkeypatch.setattr(sys.modules["psa_pack.presets.files"], "LOCK_TIMEOUT", 600.0)


@pytest.fixture
def user_dir(tmp_path):
    """Not there yet, as in a fresh ComfyUI; everything around it must stay empty."""
    return tmp_path / "user" / "psa"


@pytest.fixture
def store(user_dir):
    return PresetStore(SHIPPED_DIR, user_dir)
