"""The names under which tests reach the pack (tests/pack_import.py)."""

import importlib
import sys

import pytest

from ..pack_import import ROOT


def test_repository_root_is_not_on_the_path():
    assert str(ROOT) not in sys.path
    assert "" not in sys.path


def test_library_and_pack_are_the_same_modules():
    alias = importlib.import_module("psa_kernels")
    real = importlib.import_module("psa_pack.psa_kernels")
    assert alias is real
    assert alias.__spec__.name == "psa_pack.psa_kernels"
    assert importlib.import_module("psa_kernels.config") is importlib.import_module(
        "psa_pack.psa_kernels.config"
    )
    assert importlib.import_module("psa_presets") is importlib.import_module("psa_pack.presets")


def test_missing_module_is_an_ordinary_import_error():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("psa_kernels.no_such_module")
