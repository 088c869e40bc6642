"""Time against the number of tokens, from 4 thousand to a million."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from . import inputs
from .measure import Row, Settings, measure_profile, release
from .method import Method, Problem

HEADS, DIM = 12, 128
PICTURE = (30, 52)  # tokens of one 480p frame
FRAMES = (3, 5, 11, 21, 42, 84, 168, 336, 641)
# a call that would take longer is not made
LONGEST_CALL = 20.0  # seconds


def sweep(
    methods: list[Method],
    settings: Settings,
    say: Callable[[str], None],
    frames: tuple[int, ...] = FRAMES,
    picture: tuple[int, int] = PICTURE,
    heads: int = HEADS,
    dim: int = DIM,
) -> Iterator[list[Row]]:
    """Rows of the "medium" profile, length by length; slow dense methods drop out on the way."""
    active = [method for method in methods if dim in method.head_dims]
    for count in frames:
        grid = (count, *picture)
        length = math.prod(grid)
        if settings.late:
            say(f"sweep: {length} tokens left out, the time limit is reached")
            continue
        q, k, v = inputs.make((heads, dim, grid, 0), device=settings.device)
        problem = Problem(q * inputs.gain_for(q, k, "medium"), k, v, grid, 0)
        say(f"sweep: {length} tokens")
        name = f"{length} tokens"
        found = measure_profile(name, "medium", problem, active, True, settings, say)
        yield found
        active = [method for method in active if _worth_going_on(method, found)]
        del problem, q, k, v
        release(settings.device)


def _worth_going_on(method: Method, rows: list[Row]) -> bool:
    """Whether to run a method at the next length: it passed, and is not hopeless.

    A dense method that is not the fastest stops once calls take a tenth of a second: what it is
    there for is known by then.
    """
    own = next((row for row in rows if row.method == method.name), None)
    if own is None or own.ms is None:
        return False
    if own.ms / 1e3 * 4 > LONGEST_CALL:  # twice the tokens, four times the work
        return False
    fastest = own.ratio is None or own.ratio > 0.999
    return method.kind == "psa" or fastest or own.ms < 100
