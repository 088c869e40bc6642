"""Whether a call had to wait for the compiler is read from Triton's own tables of kernels."""

import importlib
import importlib.util
import os
import re
from pathlib import Path

import pytest

from psa_kernels.triton.compilations import _KERNELS, compiled_kernels

PACKAGE = "psa_kernels.triton"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1",
    reason="Triton is not installed, or interprets",
)


def launched():
    """(module, name) of every kernel that a source of the package launches on a grid."""
    folder = Path(importlib.import_module(PACKAGE).__file__).parent
    for path in folder.rglob("*.py"):
        module = ".".join((PACKAGE, *path.relative_to(folder).with_suffix("").parts))
        for name in set(re.findall(r"(\w+)\[[^\]\n]+\]\($", path.read_text("utf-8"), re.MULTILINE)):
            try:
                kernel = getattr(importlib.import_module(module), name, None)
            except ImportError:  # a Triton without Gluon
                assert ".hopper." in module
                continue
            if hasattr(kernel, "device_caches"):
                yield kernel.fn.__module__.rpartition(f"{PACKAGE}.")[2], name


def test_every_kernel_is_counted_and_where_it_is_looked_for():
    looked_for = {(module, name) for module, names in _KERNELS.items() for name in names}
    found = set(launched())
    assert found <= looked_for and {x for x, _ in looked_for - found} <= {"hopper.kernel"}


def test_a_compiled_kernel_counts(monkeypatch):
    levels = importlib.import_module(f"{PACKAGE}.levels")
    before = compiled_kernels()
    tables = levels.levels_kernel.device_caches
    monkeypatch.setitem(tables, "a GPU", ({"one": object(), "two": object()}, {}, None, None, None))
    assert compiled_kernels() == before + 2
