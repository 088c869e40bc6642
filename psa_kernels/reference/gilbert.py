"""A generalised 3D Hilbert curve through a grid of any size, by unit steps alone (section 1).

Colour the cells of a box like a chessboard: every unit step changes the colour. A path through all
cells can therefore lead from a corner to the next corner along an axis only if that axis has an
even length, or if all three lengths are odd. The grid as a whole always has such an axis, and each
cut below gives pieces that have one again; so no step of the curve is ever longer than 1.
"""

from __future__ import annotations

Axis = tuple[int, int]  # (length in cells, signed distance of neighbours in the raster order)


def gilbert_order(grid: tuple[int, int, int]) -> list[int]:
    """Raster indices of the cells of `grid` (frames, height, width) along the curve."""
    frames, height, width = grid
    axes = sorted([(frames, height * width), (height, width), (width, 1)], reverse=True)
    # From here on the curve leads along `major`: the longest even axis, or the longest of all.
    major = next((axis for axis in axes if axis[0] % 2 == 0), axes[0])
    axes.remove(major)
    order: list[int] = []
    _fill(order, 0, major, axes[0], axes[1])
    return order


def _fill(order: list[int], start: int, major: Axis, side: Axis, depth: Axis) -> None:
    """Walks a whole box from its corner `start` to the corner at the far end of `major`."""
    if side[0] < depth[0]:
        side, depth = depth, side
    (a, da), (b, db) = major, side
    if b <= 2 and (a % 2 == 0 or b == 1):
        _walk(order, start, major, side, depth)
    elif a > b and a >= 4:
        # Cut across: the first half has an even length, so the second has what the whole had.
        half = a // 4 * 2
        _fill(order, start, (half, da), side, depth)
        _fill(order, start + half * da, (a - half, da), side, depth)
    else:
        # Out along the side, over the far part, and back: the two legs have an even length.
        leg = max(2, (b + 1) // 4 * 2)
        half = a // 2
        _fill(order, start, (leg, db), (half, da), depth)
        _fill(order, start + leg * db, major, (b - leg, db), depth)
        back = start + (a - 1) * da + (leg - 1) * db
        _fill(order, back, (leg, -db), (a - half, -da), depth)


def _walk(order: list[int], start: int, major: Axis, side: Axis, depth: Axis) -> None:
    """A thin box: there and back through one cross-section after the other."""
    (a, da), (b, db), (c, dc) = major, side, depth
    section = [i * db + (j if i % 2 == 0 else c - 1 - j) * dc for i in range(b) for j in range(c)]
    for i in range(a):
        order.extend([start + i * da + cell for cell in section])
        section.reverse()
