"""Test parameters of the features that every family has: `basics`, `windows`."""

import dataclasses

import pytest

from .layout import covers, mismatch

# a condition of five frames or of their 120 tokens beside a window of three, 72 tokens
UNCUT = "|".join(("size 3 but got size 5", mismatch(120, 72), r"shape '\[10, -1, 1, 128\]'"))


def each(*parameters):
    return pytest.mark.parametrize(("layout", "way"), parameters)


def basics(family, layout):
    """The features that differ in how one latent is sampled only."""
    features = ("sparse & exact", "batch 3", "CFG split")
    return [covers(family, feature, layout) for feature in features]


def windows(family, layout, id=None):
    """Three of five frames at a time; `layout` is of three frames."""
    channels, _, height, width = layout.latent
    layout = dataclasses.replace(layout, latent=(channels, 5, height, width))
    cases = [covers(family, "context windows", layout, id=id)]
    if layout.whole_video:
        refused = {"cannot": UNCUT, "id": f"{family}, refused context windows"}
        cases.append(covers(family, "context windows", layout, **refused))
    return cases


def resized(layout, latent, grid):
    return dataclasses.replace(layout, latent=(layout.latent[0], *latent), grid=grid)


def odd_sizes(family, layout, divided=True):
    """divided: also of sizes that patches of two by two do not divide"""
    sizes = {"one frame": ((1, 16, 20), (1, 8, 10)), "1 x N": ((5, 2, 30), (5, 1, 15))}
    if divided:
        sizes["odd"] = ((2, 9, 13), (2, 5, 7))
    return [
        covers(family, "odd sizes", resized(layout, *size), id=f"{family}, {name}")
        for name, size in sizes.items()
    ]
