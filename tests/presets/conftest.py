import pytest

from psa_presets import SHIPPED_DIR, PresetStore


@pytest.fixture
def user_dir(tmp_path):
    """Not there yet, as in a fresh ComfyUI; everything around it must stay empty."""
    return tmp_path / "user" / "psa"


@pytest.fixture
def store(user_dir):
    return PresetStore(SHIPPED_DIR, user_dir)
