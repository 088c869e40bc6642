import logging

import pytest

from psa_engines.core import deciding


@pytest.fixture
def messages(caplog):
    """messages(level) -> what PSA logged"""
    caplog.set_level(logging.INFO, logger="PSA")
    return lambda level: [r.getMessage() for r in caplog.records if r.levelname == level]


@pytest.fixture
def spoil(monkeypatch):
    """spoil(fault, calls=None): PSA's attention raises an "error" or gives "NaN" in one channel,
    in all calls or in the first few; until `monkeypatch.undo()`."""
    real = deciding.psa_attention

    def faulty(fault, calls=None):
        count = 0

        def spoiled(*args, **more):
            nonlocal count
            count += 1
            if calls is not None and count > calls:
                return real(*args, **more)
            if fault == "error":
                raise RuntimeError("no such kernel")
            out, stats = real(*args, **more)
            out[..., 0, 0] = float("nan")
            return out, stats

        monkeypatch.setattr(deciding, "psa_attention", spoiled)

    return faulty
