"""`check` itself: layouts that have the right number of tokens and are wrong."""

import dataclasses

import pytest

from .. import zoo
from .layout import Layout, check

# test_wan.py has it
RIGHT = Layout((16, 3, 8, 12), (3, 4, 6))
WRONG = {
    "height and width swapped": {"grid": (3, 6, 4)},
    "frames and height swapped": {"grid": (4, 3, 6)},
    "the first frame before the video": {"grid": (2, 4, 6), "before": 24},
    "the last frame after the video": {"grid": (2, 4, 6), "after": 24},
    "one long frame": {"grid": (1, 8, 9)},
    "a frame too many": {"grid": (4, 4, 6)},
}


@pytest.mark.parametrize("expected_too", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_layout_is_found(bench, monkeypatch, name, expected_too):
    """Said by the reader, or by the reader and by who wrote the test."""
    from psa_pack.nodes.patching import around_call

    read = around_call.token_grid
    wrong = WRONG[name]
    monkeypatch.setattr(around_call, "token_grid", lambda c: dataclasses.replace(read(c), **wrong))
    layout = dataclasses.replace(RIGHT, **WRONG[name]) if expected_too else RIGHT
    with pytest.raises(AssertionError):
        check(bench, monkeypatch, zoo.wan(), layout)
