"""Fixtures of the kernel tests."""

import pytest

from psa_kernels import reference
from psa_kernels.reference import semantic

from .poison import poisoned

STAGES = {"group_keys": "groups", "importance": "importance", "assign_levels": "levels"}


@pytest.fixture(autouse=True, scope="module")
def unwritten_memory_shows():
    with poisoned():
        yield


@pytest.fixture
def made(monkeypatch):
    """The stages that the reference ran, in order: "groups", "importance" or "levels"."""
    found = []
    for stage, name in STAGES.items():
        real = getattr(reference, stage)

        def counting(*args, real=real, name=name):
            found.append(name)
            return real(*args)

        monkeypatch.setattr(reference, stage, counting)
    return found


@pytest.fixture
def every_head_clustered(monkeypatch):
    """In the semantic orders: no head of random tokens would take its clusters by itself."""
    monkeypatch.setattr(semantic, "GATHERED", float("inf"))
    monkeypatch.setattr(semantic, "MOST_VARIANCE", float("inf"))
