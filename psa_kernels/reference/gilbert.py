"""A generalised 3D Hilbert curve through a grid of any size, in unit steps only (section 1).

Colour the cells of a box like a chessboard: every unit step changes the colour. So a path through
all cells can lead from one corner to the next along an axis only if that axis has an even length,
or if all three lengths are odd. The whole grid always has such an axis, and each cut below gives
pieces that have one again; so no step of the curve is longer than 1. On cubes of 2^k cells it is a
classic Hilbert curve.
"""

from __future__ import annotations

Axis = tuple[int, int]  # (length in cells, signed distance of neighbours in the raster order)


def gilbert_order(grid: tuple[int, int, int]) -> list[int]:
    """Raster indices of the cells of `grid` (frames, height, width) along the curve."""
    frames, height, width = grid
    axes = sorted([(frames, height * width), (height, width), (width, 1)], reverse=True)
    # The curve leads along `major`: the longest even axis, or the longest of all.
    major = next((axis for axis in axes if axis[0] % 2 == 0), axes[0])
    longest, distance = axes[0]
    order: list[int] = []
    start = 0
    if 2 * major[0] < longest:
        # Along such a short axis the curve would only run back and forth. The longest axis, which
        # is odd, is better; its last layer of cells follows separately.
        _fill(order, 0, (longest - 1, distance), axes[1], axes[2])
        start, axes[0] = (longest - 1) * distance, (1, distance)
    axes.remove(major)
    _fill(order, start, major, *axes)
    return order


def _fill(order: list[int], start: int, major: Axis, side: Axis, depth: Axis) -> None:
    """Walks a whole box from its corner `start` to the corner at the far end of `major`.

    `major` is even, or all three axes are odd. The cuts keep pieces close to cubes.
    """
    if side[0] < depth[0]:
        side, depth = depth, side
    a, b, c = major[0], side[0], depth[0]
    if b <= 2 and (a % 2 == 0 or b == 1):
        _walk(order, start, major, side, depth)
    elif a >= 4 and 3 * a > 4 * b:
        _cut_across(order, start, major, side, depth)
    elif a % 2 == 0 and 3 * b <= 4 * c and b % 2 == 0:
        _cut_in_five(order, start, major, depth, side)
    elif a % 2 == 0 and 3 * b <= 4 * c and c % 2 == 0:
        _cut_in_five(order, start, major, side, depth)
    else:
        _cut_in_three(order, start, major, side, depth)


def _walk(order: list[int], start: int, major: Axis, side: Axis, depth: Axis) -> None:
    """A thin box: back and forth through one cross-section after another."""
    (a, da), (b, db), (c, dc) = major, side, depth
    section = [i * db + (j if i % 2 == 0 else c - 1 - j) * dc for i in range(b) for j in range(c)]
    for i in range(a):
        order.extend([start + i * da + cell for cell in section])
        section.reverse()


def _cut_across(order: list[int], start: int, major: Axis, side: Axis, depth: Axis) -> None:
    """Two halves of a long box. The first is even, so the second keeps the parity of the whole."""
    a, da = major
    half = a // 4 * 2
    _fill(order, start, (half, da), side, depth)
    _fill(order, start + half * da, (a - half, da), side, depth)


def _cut_in_three(order: list[int], start: int, major: Axis, side: Axis, depth: Axis) -> None:
    """Out along the side, over the far part, and back. Both legs have an even length."""
    (a, da), (b, db) = major, side
    half, leg = _half(a), _even_half(b)
    end = start + (a - 1) * da
    _fill(order, start, (leg, db), (half, da), depth)
    _fill(order, start + leg * db, major, (b - leg, db), depth)
    _fill(order, end + (leg - 1) * db, (leg, -db), (a - half, -da), depth)


def _cut_in_five(order: list[int], start: int, major: Axis, side: Axis, depth: Axis) -> None:
    """Hilbert's cut; `major` and `depth` are even.

    Out along the near part of the side, down the far part, over the near part's bottom, up, back.
    """
    (a, da), (b, db), (c, dc) = major, side, depth
    half, leg, top = _half(a), _even_half(b), _half(c)
    end, bottom = start + (a - 1) * da, (c - 1) * dc
    _fill(order, start, (leg, db), (half, da), (top, dc))
    _fill(order, start + leg * db, depth, (half, da), (b - leg, db))
    _fill(order, start + (leg - 1) * db + bottom, major, (leg, -db), (c - top, -dc))
    _fill(order, end + leg * db + bottom, (c, -dc), (a - half, -da), (b - leg, db))
    _fill(order, end + (leg - 1) * db, (leg, -db), (a - half, -da), (top, dc))


def _half(length: int) -> int:
    """About half of `length`, even if possible, because pairs of cells form small cubes."""
    half = length // 2
    if half % 2 == 0 or length <= 3:
        return half
    return half + 1 if length % 2 else half - 1


def _even_half(length: int) -> int:
    """An even number near half of `length`, which is 3 or more."""
    return max(2, (length + 1) // 4 * 2)
