"""Shared by all tests.  How test modules reach the code: see pack_import.py beside this file.

Tests are collected in pytest's importlib mode: nothing is put on `sys.path`, file names may repeat
between folders, and a helper beside a test is imported as `from .helper import ...`.
"""

from pathlib import Path

import pytest

from . import pack_import

pack_import.install()


class _RootIsNoPackage:
    """Keeps pytest from importing the pack's own `__init__.py`, which needs ComfyUI."""

    def pytest_collect_directory(self, path: Path, parent):
        if path == pack_import.ROOT:
            return pytest.Dir.from_parent(parent, path=path)
        return None


def pytest_configure(config):
    config.pluginmanager.register(_RootIsNoPackage())


def _gpu_missing() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "needs a GPU; torch sees none"


def pytest_collection_modifyitems(items):
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and (reason := _gpu_missing()):
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason=reason))
