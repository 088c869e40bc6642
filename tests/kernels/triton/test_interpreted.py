"""The kernels without a GPU: random small calls in Triton's interpreter, against the reference."""

import importlib.util

import pytest

from .interpreted import interpreted

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
COUNT = 9


def test_random_configurations_agree_with_the_reference():
    assert interpreted("sweep.py", "0", str(COUNT), "1").strip().endswith("all good")


def test_second_moments_do_not_cancel():
    assert interpreted("check_spread.py").strip().endswith("all good")


def test_channels_as_far_apart_as_strides_can_say():
    assert interpreted("check_strides.py").strip().endswith("all good")
