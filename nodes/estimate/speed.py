"""How much faster attention is at a density, from measured calls (measured.json beside this file).

A whole call takes `other + full * a + pooled * (b + c if second moment)` in units of the dense call
of the same shape, where `full` and `pooled` are the density on level 1 and on the other levels. The
four figures are fitted to the measured calls of each shape and interpolated between shapes. A
product that PSA computes is held to cost at least what it costs in dense attention: the few calls
of a shape in which other work weighs more (heads of 64) would not show that they cost anything.

Like keys together come on top (like_keys.py).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...psa_kernels.config import LEVELS, PSAConfig
from . import like_keys
from .density import BLOCKS_UNKNOWN, Density, Tokens, density, how_mixed, parts
from .figure import Figure
from .models import Model
from .work import attention_flops


def speedup(config: PSAConfig, tokens: Tokens, found: Density, model: Model | None) -> Figure:
    """Times the fastest dense attention, of one attention call in a sparse step, on the GPU that
    the calls were measured on.
    """
    if config.type == "dense":
        return Figure(1.0, "dense", note="a dense preset runs the model's own attention")
    if config.blocks:
        return _over_blocks(config, tokens, found, model)
    reason = _unknown(config, found, model)
    if reason:
        return Figure(None, reason=reason)
    exact = _measured(config, tokens, model)
    if exact is not None:
        return Figure(exact, "measured", note=_CALL.format(**_source()), measured=_source())
    costs = _costs(model.head_dim, tokens.total)
    time = costs.of(found.full, found.value - found.full, config)
    note = (
        f"extrapolated from calls measured on one {table()['gpu']}, where the fastest dense "
        f"attention is {table()['against']}; other GPUs will differ"
        f"{far_from_measured(model, tokens.total)}{about_groups(config)}"
    )
    low, high = _measured_densities()
    if not low / 1.1 < found.value < high * 1.1:
        note += f". Measured were densities from {low:.0%} to {high:.0%} only"
    return Figure(1 / time, "extrapolated", note=note, measured=_source())


def about_groups(config: PSAConfig) -> str:
    """Words for a note on what was not measured itself."""
    return like_keys.words(config, table()["like_keys"])


def _over_blocks(
    config: PSAConfig, tokens: Tokens, found: Density, model: Model | None
) -> Figure:
    """Of the calls of all blocks together."""
    if model is None or not model.blocks:
        one = speedup(config.replace(blocks={}), tokens, found, model)
        note = "; ".join(filter(None, (one.note, BLOCKS_UNKNOWN)))
        return dataclasses.replace(one, note=note)
    time, kinds, measured = 0.0, set(), None
    for count, part in parts(config, model.blocks):
        one = speedup(part, tokens, density(part, tokens), model)
        if one.value is None:
            return one
        time += count / one.value
        kinds.add(one.kind)
        measured = one.measured or measured
    kind = "extrapolated" if "extrapolated" in kinds else max(kinds)
    note = how_mixed(config, model.blocks)
    if measured:
        note += f"; against the fastest dense attention there, {measured['against']}"
    return Figure(model.blocks / time, kind, note=note, measured=measured)


_CALL = (
    "a single attention call, reordering included, against the fastest dense attention there, "
    "{against}"
)


def _unknown(config: PSAConfig, found: Density, model: Model | None) -> str | None:
    """Why there is no figure, or None."""
    if found.value is None:
        return found.note
    if model is None:
        return "the family's heads and their size are not known; give model"
    known = sorted({shape["head_dim"] for shape in table()["shapes"]})
    if model.head_dim not in known:
        return f"only heads of {' and '.join(map(str, known))} have been measured"
    if config.importance == "exact":
        return "exact importance is for studies; as slow as dense attention and not measured"
    if config.order in ("SemanticAware", "Hybrid"):
        return f"calls with the {config.order} order have not been measured"
    if config.block_n == 32:
        return "key blocks of 32 have not been measured"
    if config.block_m != 128:
        return f"query blocks of {config.block_m} have not been measured"
    return None


FAR = 2.0  # times the one measured length


def far_from_measured(model: Model, length: float) -> str:
    """Words for a note, where heads of this size were measured at one length only, far from this.

    From one length it cannot be told what of the time is linear in it: all of `other` is taken to
    grow as dense attention does beyond it, which makes PSA look slower there than it should be.
    """
    known = sorted({x for dim, x, _ in _fitted() if dim == model.head_dim})
    if len(known) != 1 or known[0] / FAR <= length <= known[0] * FAR:
        return ""
    return f"; heads of {model.head_dim} have been measured at {known[0]:,} tokens only"


@dataclass(frozen=True)
class _Costs:
    """Parts of a call's time, in units of the dense call; see the top of the file."""

    other: float
    full: float
    pooled: float
    moment: float
    n64: float  # times all of it with key blocks of 64
    anew: float  # what like keys together add where their groups are made,
    kept: float  # and where they and the plan are kept

    def of(self, full: float, pooled: float, config: PSAConfig) -> float:
        time = self.other + full * self.full + pooled * self.pooled
        time += pooled * self.moment * config.second_moment
        if config.grouping == "similar":
            time += like_keys.mean(config, self.anew, self.kept)
        return time * (self.n64 if config.block_n == 64 else 1.0)


@functools.cache
def _fitted() -> tuple[tuple[int, int, _Costs], ...]:
    """(head_dim, tokens, costs) of every measured shape."""
    fitted = []
    for shape in table()["shapes"]:
        tokens = _tokens(shape)
        rows, times, coarse = [], [], []
        for call in shape["calls"]:
            config = PSAConfig.from_preset(call["preset"])
            found = density(config, tokens)
            pooled = found.value - found.full
            row = (1.0, found.full, pooled, pooled * config.second_moment)
            if config.block_n == 128:
                rows.append(row)
                times.append(call["ms"] / shape["dense_ms"])
            elif config.block_n == 64:
                coarse.append((row, call["ms"] / shape["dense_ms"]))
        costs = _least_squares(np.array(rows), np.array(times))
        factors = [time / float(np.dot(costs, row)) for row, time in coarse]
        parts = (*map(float, costs), sum(factors) / len(factors))
        added = like_keys.added(table()["like_keys"], shape["head_dim"], tokens.total)
        fitted.append((shape["head_dim"], tokens.total, _Costs(*parts, *added)))
    return tuple(fitted)


# other, full, pooled, moment; dense attention's product costs 1
LEAST = np.array([0.0, 1.0, 1.0, 0.0])


def _least_squares(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The costs, none under its `LEAST`, whose squared errors are least.

    Some costs are at their least, and the others are the free fit: with four, every choice is
    tried.
    """
    best, least_error = LEAST, math.inf
    for count in range(len(LEAST) + 1):
        for some in map(list, itertools.combinations(range(len(LEAST)), count)):
            costs = LEAST.copy()
            costs[some] += np.linalg.lstsq(rows[:, some], times - rows @ LEAST, rcond=None)[0]
            error = float(np.square(rows @ costs - times).sum())
            if (costs >= LEAST).all() and error < least_error:
                best, least_error = costs, error
    return best


def _costs(head_dim: int, tokens: float) -> _Costs:
    """Between two measured lengths by the logarithm of the length; outside, the nearest one's.

    Below the shortest, what is not attention itself grows with 1 / length: it is about linear in
    the length, where dense attention is quadratic.
    """
    known = sorted((length, costs) for dim, length, costs in _fitted() if dim == head_dim)
    lengths = [length for length, _ in known]
    at = math.log(min(max(tokens, lengths[0]), lengths[-1]))
    parts = [
        float(np.interp(at, [math.log(x) for x in lengths], [getattr(c, name) for _, c in known]))
        for name in _Costs.__dataclass_fields__
    ]
    costs = _Costs(*parts)
    shorter = max(1.0, lengths[0] / tokens)
    return dataclasses.replace(costs, other=costs.other * shorter, anew=costs.anew * shorter)


def break_even(config: PSAConfig, tokens: Tokens, found: Density, model: Model | None) -> Figure:
    """The sequence length at which PSA's call takes as long as dense attention, to two digits."""
    if config.type == "dense":
        return Figure(None, reason="a dense preset runs the model's own attention")
    reason = _unknown(config, found, model)
    if reason:
        return Figure(None, reason=reason)

    def slower(length: float) -> bool:
        costs = _costs(model.head_dim, length)
        return costs.of(found.full, found.value - found.full, config) > 1

    low, high = 64.0, 4e6
    if slower(high):
        return Figure(None, reason="at this density PSA is slower than dense attention throughout")
    if not slower(low):
        high = low  # faster at any length worth a call
    while high > low * 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slower(middle) else (low, middle)
    shortest = min(_tokens(x).total for x in table()["shapes"] if x["head_dim"] == model.head_dim)
    note = (
        "at this density, against the fastest dense attention on the measured GPU; calls shorter "
        f"than {shortest:,} tokens were not measured: what is not attention itself is taken as "
        f"linear in the length{far_from_measured(model, high)}{about_groups(config)}"
    )
    value = float(f"{high:.2g}")
    return Figure(value, "extrapolated", note=note, measured=_source())


def dense_call(tokens: Tokens, model: Model) -> float | None:
    """Seconds of one call of the fastest dense attention, batch 1, at the rate of measured calls.

    The rate goes by the logarithm of the length between two measured ones, outside it is the
    nearest one's. None where no head of this size was measured.
    """
    known = sorted(
        (length, attention_flops(length, shape["heads"] * model.head_dim)
         / (shape["dense_ms"] * 1e-3))
        for shape in table()["shapes"] if shape["head_dim"] == model.head_dim
        for length in (_tokens(shape).total,)
    )  # fmt: skip
    if not known:
        return None
    lengths, rates = zip(*known, strict=True)
    rate = float(np.interp(math.log(tokens.total), [math.log(x) for x in lengths], rates))
    return attention_flops(tokens.total, model.dim) / rate


def _measured(config: PSAConfig, tokens: Tokens, model: Model) -> float | None:
    """The speed-up of this very call, if it was measured."""
    for shape in table()["shapes"]:
        size = shape["heads"], shape["head_dim"], _tokens(shape)
        if size != (model.heads, model.head_dim, tokens):
            continue
        for call in shape["calls"]:
            if same_work(PSAConfig.from_preset(call["preset"]), config):
                return shape["dense_ms"] / call["ms"]
    return None


def same_work(one: PSAConfig, other: PSAConfig) -> bool:
    """Whether two presets' calls take the same time."""
    return _what_runs(one) == _what_runs(other)


def _what_runs(config: PSAConfig) -> tuple:
    """What the time of a call depends on."""
    quotas = tuple((level, round(config.mask_ratios.width(level), 6)) for level in LEVELS)
    tail = config.tail if config.mask_ratios.width(0) > 0 else "none"
    refresh = config.refresh if config.grouping == "similar" else None
    return (
        config.block_m, config.block_n, quotas, tail, config.second_moment, config.mask_mode,
        config.use_sim_mask, config.order, config.importance, config.grouping, refresh,
        config.blocks,
    )  # fmt: skip


def _tokens(shape: Mapping[str, Any]) -> Tokens:
    return Tokens(tuple(shape["grid"]), shape["text"])


def _source() -> dict[str, Any]:
    return {name: table()[name] for name in ("gpu", "versions", "date", "against", "source")}


@functools.cache
def _measured_densities() -> tuple[float, float]:
    found = [
        density(PSAConfig.from_preset(call["preset"]), _tokens(shape)).value
        for shape in table()["shapes"] for call in shape["calls"]
    ]  # fmt: skip
    return min(found), max(found)


@functools.cache
def table() -> dict[str, Any]:
    """The measured calls."""
    path = Path(__file__).parent / "measured.json"
    return json.loads(path.read_text(encoding="utf-8"))
