"""What whole calls take on this GPU: dense attention and PSA's, at a few lengths and densities.

Estimates rest on these times. PSA's calls are like those of shipped presets: key blocks of 128 in
Gilbert order, a tail with the second moment; with keys in order, and with like keys together, both
where groups and plan are made and where they are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from ..attention import made_current, psa_attention
from ..capability import Call, refusal
from ..config import PSAConfig
from ..measured import LIBRARY
from ..order_state import FIRST_STEPS, OrderState
from ..selftest.diagnosis import diagnose
from ..triton.support import INT8
from . import bench
from .search import NOT_REACHED, Budget
from .timing import Clock, alternate

SHORT: bench.Grid = (13, 24, 26)  # 8,112 tokens
# (grid, elements of all heads): the usual one first, in case time is short
SIZES = ((bench.LARGE, bench.WIDTH), (bench.LONG, bench.WIDTH // 3), (SHORT, bench.WIDTH))
ORDERED = PSAConfig(block_n=128, tail=64, second_moment=True, rearrange_method="Gilbert", qk="half")
SETTINGS = tuple(
    ORDERED.replace(mask_ratios={1: (0, full), 8: (full, rest), 0: (rest, 1)})
    for full, rest in ((0.05, 0.2), (0.25, 0.5))
)
MATRIX = 8192, 4096, 4096  # of the product that stands for the rest of a model
EACH = 0.3  # seconds that a call is timed for
N64_SECONDS = 8.0  # its kernels are compiled for it
CHANGE = 0.1  # smaller changes of the times are ignored


def measure(
    device: torch.device,
    head_dim: int,
    dtype: torch.dtype,
    *,
    budget: Budget,
    say: Callable[[str], None] = lambda text: None,
    int8: bool = True,
    sizes: tuple = SIZES,
) -> tuple[dict[str, Any], dict[str, str]]:
    """(times, what was left out -> why); times, where there are any:

    matmul_tflops  of a large matrix product
    calls          of each length: tokens, heads, dense_ms by the name of the attention, for each
                   density order_ms, anew_ms and kept_ms, and int8_ms (order_ms with qk at int8)
                   where the kernels have int8 and `int8` is true
    n64            time of a call with key blocks of 64 over that with 128, if time was left
    """
    calls, left_out, last = [], {}, None

    def tried(name: str, measured: Callable, *given) -> Any:
        """What it measures; None where it fails."""
        try:
            return measured(*given)
        except Exception as error:
            left_out[name] = diagnose(error).what
            return None

    with made_current(device), torch.no_grad():
        # without these nothing is estimated; they need less memory than any call
        name = "all times, with that of a matrix product"
        clock = tried(name, Clock, device)
        rate = clock and tried(name, _matmul, dtype, device, clock)
        if rate is None:
            return {}, left_out
        rest = head_dim, dtype, device, clock
        for grid, width in sizes:
            tokens, heads = grid[0] * grid[1] * grid[2], max(1, width // head_dim)
            work = tokens**2 * heads * head_dim
            name = f"times at {tokens:,} tokens"
            if budget.left() < (0 if last is None else last[1] * max(1, work / last[0])):
                left_out[name] = NOT_REACHED
                continue
            say(f"{name}: dense attention and PSA")
            if found := tried(name, _of_size, int8, left_out, grid, heads, *rest):
                calls.append(found[0])
                last = work, found[1]
        if not calls:
            return {}, left_out
        times = {"matmul_tflops": rate, "calls": calls}
        name, (grid, width) = "key blocks of 64", sizes[0]
        if budget.left() <= N64_SECONDS:
            left_out[name] = NOT_REACHED
            return times, left_out
        say(name)
        if n64 := tried(name, _n64, grid, max(1, width // head_dim), *rest):
            times["n64"] = n64
    return times, left_out


def _of_size(
    int8, left_out, grid, heads, head_dim, dtype, device, clock
) -> tuple[dict[str, Any], float]:
    """What is kept of one length, and the seconds that timing it took, compiling not counted."""
    tokens = grid[0] * grid[1] * grid[2]
    q, k, v = bench.made_up(tokens, heads, head_dim, dtype, device)
    calls: dict[Any, Callable] = {}
    densities, in_int8 = [], {}
    for i, config in enumerate(SETTINGS):
        similar = config.replace(grouping="similar", refresh=4)
        call = partial(psa_attention, q, k, v, grid=grid, need_kernels=device.type == "cuda")
        state = OrderState()
        for step in range(FIRST_STEPS):
            call(config=similar, state=state, step=step)
        # a repeated step ages nothing: what is kept serves all of these calls
        kept = partial(call, config=similar, state=state, step=FIRST_STEPS)
        calls |= {(i, "order_ms"): partial(call, config=config),
                  (i, "anew_ms"): partial(call, config=similar), (i, "kept_ms"): kept}  # fmt: skip
        of_int8 = config.replace(qk="int8")
        if int8 and not refusal(INT8.limits, Call.small(device, dtype, head_dim, of_int8)):
            in_int8[i, "int8_ms"] = partial(call, config=of_int8)
        densities.append(call(config=config, return_stats=True)[1].density)
    for once in calls.values():
        once()
    # what a length can do without
    dense = {"dense": partial(scaled_dot_product_attention, q, k, v)}
    for name, more in {"dense attention": dense, "PSA in int8": in_int8}.items():
        try:
            for once in more.values():
                once()
        except Exception as error:
            left_out[f"{name} at {tokens:,} tokens"] = diagnose(error).what
        else:
            calls |= more
    begin = time.monotonic()
    times = alternate(calls, clock, seconds_each=EACH)
    found = {
        "tokens": tokens, "heads": heads,
        "dense_ms": {LIBRARY: _rounded(times["dense"].ms)} if "dense" in times else {},
        "psa": [
            {"density": _rounded(density)}
            | {key[1]: _rounded(x.ms) for key, x in times.items() if key[0] == i}
            for i, density in enumerate(densities)
        ],
    }  # fmt: skip
    return found, time.monotonic() - begin


def _n64(grid, heads, head_dim, dtype, device, clock) -> float:
    q, k, v = bench.made_up(grid[0] * grid[1] * grid[2], heads, head_dim, dtype, device)
    calls = {
        n: partial(psa_attention, q, k, v, grid=grid, config=SETTINGS[0].replace(block_n=n))
        for n in (128, 64)
    }
    for once in calls.values():
        once()
    times = alternate(calls, clock, seconds_each=EACH)
    return _rounded(times[64].ms / times[128].ms)


def _matmul(dtype, device, clock) -> float:
    m, k, n = MATRIX if clock.cuda else (64, 64, 64)
    a, b = (torch.randn(shape, device=device).to(dtype) for shape in ((m, k), (k, n)))
    torch.mm(a, b)
    ms = alternate({0: partial(torch.mm, a, b)}, clock, seconds_each=EACH)[0].ms
    return _rounded(2 * m * k * n / ms / 1e9)


def differ(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    """Whether what `new` has is not in `old`, or not the same; what only `old` has is no matter."""
    one, other = ({**x, "calls": _by_length(x)} for x in (old or {}, new))
    return not dict(_numbers(other)).keys() <= dict(_numbers(one)).keys() or _moved(one, other)


def merged(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """`new`, and what only `old` has.

    A host's own dense attention at a length goes where PSA's times there have changed.
    """
    old = old or {}
    calls = _by_length(old)
    for length, call in _by_length(new).items():
        dense, before = call["dense_ms"], calls.get(length)
        if before and not _moved(before["psa"], call["psa"]):
            dense = {**before["dense_ms"], **dense}
        calls[length] = {**call, "dense_ms": dense}
    return {**old, **new, "calls": list(calls.values())}


def _by_length(times: Mapping[str, Any]) -> dict[tuple[int, int], Mapping[str, Any]]:
    return {(call["tokens"], call["heads"]): call for call in times.get("calls", ())}


def _moved(old: Any, new: Any) -> bool:
    """Whether a number that both have has changed."""
    one = dict(_numbers(old))
    return any(abs(x / one[at] - 1) > CHANGE for at, x in _numbers(new) if at in one)


def _numbers(value: Any, path: tuple = ()):
    """(path, number) of all numbers in it."""
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, one in items:
            yield from _numbers(one, (*path, key))
    else:
        yield path, value


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
