"""Test parameters that many families share: `videos`, `images`, and what they consist of."""

import dataclasses

import pytest

from .layout import covers, mismatch

# a condition of five frames or of their 120 tokens beside a window of three, 72 tokens
UNCUT = "|".join(("size 3 but got size 5", mismatch(120, 72), r"shape '\[10, -1, 1, 128\]'"))


def each(*parameters):
    return pytest.mark.parametrize(("layout", "way"), parameters)


def basics(family, layout, references=False):
    """The features that differ in how one latent is sampled only; `references`: it has some."""
    features = ("sparse & exact", "batch 3", "CFG split")
    first, *others = (covers(family, feature, layout) for feature in features)
    if references:
        marks = [*first.marks, pytest.mark.covers(family, "references")]
        first = pytest.param(*first.values, marks=marks, id=first.id)
    return [first, *others]


def named(family, feature, layouts):
    """Several cases of one feature; `layouts`: name -> layout."""
    return [
        covers(family, feature, layout, id=f"{family}, {name}") for name, layout in layouts.items()
    ]


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
    sizes = {"one row of one frame": ((1, 2, 150), (1, 1, 75))}
    if divided:
        sizes["odd"] = ((2, 9, 13), (2, 5, 7))
    layouts = {name: resized(layout, *size) for name, size in sizes.items()}
    return named(family, "odd sizes", layouts)


def videos(family, layout, divided=True, references=False):
    return [
        *basics(family, layout, references),
        *odd_sizes(family, layout, divided),
        *windows(family, layout),
    ]


def images(family, layout):
    """Basics and odd sizes of an image in patches of two by two; `layout(size, grid)` makes one."""
    odd = {"odd": layout((17, 23), (9, 12)), "one row": layout((2, 150), (1, 75))}
    return [*basics(family, layout((16, 24), (8, 12))), *named(family, "odd sizes", odd)]


def changed(parameters, change):
    """The same cases with `change(layout)`."""
    return [
        pytest.param(change(layout), way, marks=parameter.marks, id=parameter.id)
        for parameter in parameters
        for layout, way in [parameter.values]
    ]
