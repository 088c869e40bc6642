"""POST /psa/estimate: density and expected speed-up of a preset at a video's size.

Of an attention call, of a whole step and, with a plan, of a whole run.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from aiohttp import web

from ...presets.family import Family
from ...psa_kernels.config import DENSE, PSAConfig, parse_range
from ..dense_blocks import read_dense_blocks
from ..estimate.calls import Plan, calls_of_run
from ..estimate.density import Tokens, density
from ..estimate.models import MODELS, Model
from ..estimate.step import Figure, estimate_run
from ..estimate.times import offer, this_gpu
from .bodies import REQUIRED, Body, bad_request
from .drafts import take_draft
from .users import store_of

MOST_PIXELS, MOST_FRAMES, MOST_TOKENS = 16_384, 10_000, 50_000_000
EVEN = 1.05  # a speed-up is shown with two digits, and nobody feels less
COUNTED_AND_TIMED = ("flops_share", "less_work", "time_share", "dense_s", "sparse_s")
NO_TEXT = (
    "text not counted, nor sound or references in the sequence: how many tokens they have varies"
)
BLOCKS_UNKNOWN = (
    "settings of single blocks are left out: the number of the model's blocks is not known"
)


def estimate(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    store, body = store_of(request), Body(content)
    config = take_draft(body, store).config()
    name = body.take("family", str)
    video = video_size(body)
    model = _model(name, body.take("model", dict, None))
    plan = _plan(body.take("plan", dict, None), config)
    min_tokens = body.number("min_tokens", int, 0, MOST_TOKENS, 0)
    dense_blocks = dense_blocks_of(body)
    body.done()
    family = store.get_family(name)
    tokens = tokens_of(family, video)
    blocks = model.blocks if model else 0
    calls = calls_of_run(config, blocks, plan, dense_blocks)
    share = density(calls, tokens)
    missing = [BLOCKS_UNKNOWN] if config.blocks and not blocks else []
    if family.text_length is None:
        missing.append(NO_TEXT)
        if share.kind == "exact":
            share = dataclasses.replace(share, kind="extrapolated")
    found = estimate_run(calls, tokens, model, plan, "; ".join(missing))
    answer = {name: _json(found[name]) for name in COUNTED_AND_TIMED}
    if plan and tokens.video < min_tokens:
        short = "fewer video tokens than min_tokens: all steps are dense"
        found["run"] = Figure(1.0, "dense", note=short)
        plan = Plan(plan.steps, 0)
    return {
        "tokens": {"grid": list(tokens.grid), "video": tokens.video, "text": family.text_length,
                   "total": tokens.total},
        "model": {"heads": model.heads, "head_dim": model.head_dim} if model else None,
        "density": vars(share) | {"note": "; ".join((share.note, *missing))},
        "attention": _speedup(found["attention"]),
        "step": _speedup(found["step"]) | answer,
        "run": plan and _speedup(found["run"]) | {
            "steps": plan.steps, "sparse": plan.sparse,
            "density": 1 - plan.sparse / plan.steps * (1 - share.value),
        },
        "break_even": _json(found["break_even"], "tokens"),
        "gpu": this_gpu(),
        "offer": model and offer(model.head_dim),
    }  # fmt: skip


def video_size(body: Body, default: Any = REQUIRED) -> tuple[int, int, int]:
    """(width, height, frames) of a video, in pixels."""
    width, height = (
        body.number(side, int, 16, MOST_PIXELS, default) for side in ("width", "height")
    )
    return width, height, body.number("frames", int, 1, MOST_FRAMES, default)


def tokens_of(family: Family, video: tuple[int, int, int]) -> Tokens:
    """What a family's model makes of a video. Raises `Refusal` for one that is too large."""
    tokens = Tokens(family.video_scale.grid(*video), family.text_length or 0)
    if tokens.total > MOST_TOKENS:
        raise bad_request(f"width, height, frames: {tokens.total} tokens are too many")
    return tokens


def _model(family: str, given: dict[str, Any] | None) -> Model | None:
    if given is None:
        return MODELS.get(family)
    body = Body(given, "model")
    sizes = {name: body.number(name, int, 1, 1024) for name in ("heads", "head_dim")}
    sizes["blocks"] = body.number("blocks", int, 0, 1000, 0)
    sizes["ffn"] = body.number("ffn", int, 0, 1_000_000, 0)
    sizes["cross"] = body.number("cross", int, 0, 1_000_000, 0)
    sizes["hidden"] = body.number("hidden", int, 0, 1_000_000, 0)
    body.done()
    return Model(**sizes)


def _plan(given: dict[str, Any] | None, config: PSAConfig) -> Plan | None:
    if given is None:
        return None
    body = Body(given, "plan")
    steps = body.number("steps", int, 1, 10_000)
    sparse = body.number("sparse", int, 0, steps)
    ranges = body.take("ranges", dict, None)
    body.done()
    if ranges is None:
        return _last_sparse(steps, sparse, config)
    inner, known = Body(ranges, "plan.ranges"), {}
    for name in ranges:
        known[_sparse_range(name, config)] = inner.number(name, int, 0, sparse)
    if sum(known.values()) > sparse:
        raise bad_request("plan.ranges: more steps than the run has sparse ones")
    return Plan(steps, sparse, known)


def _last_sparse(steps: int, sparse: int, config: PSAConfig) -> Plan:
    """The plan of a run whose last steps are sparse, as after a warm-up."""
    found = Counter(config.steps.at(i / steps) for i in range(steps - sparse, steps))
    return Plan(steps, sparse, {range_: n for range_, n in found.items() if range_ is not None})


def _sparse_range(name: str, config: PSAConfig) -> tuple[float, float]:
    try:
        range_ = parse_range(name)
    except ValueError:
        range_ = None
    if config.steps.get(range_, DENSE) == DENSE:
        raise bad_request(f"plan.ranges: the preset has no sparse range {name[:60]!r}")
    return range_


def dense_blocks_of(body: Body) -> frozenset[int]:
    """The blocks that Apply PSA's input `dense_blocks` names."""
    try:
        return read_dense_blocks(body.text("dense_blocks", ""))
    except ValueError as error:
        raise bad_request(str(error)) from None


def _speedup(found: Figure) -> dict[str, Any]:
    return _json(found, "speedup") | {"verdict": _verdict(found)}


def _verdict(found: Figure) -> str | None:
    """None for what is not known or dense."""
    if found.value is None or found.kind == "dense":
        return None
    if found.value >= EVEN:
        return "faster"
    return "slower" if found.value * EVEN <= 1 else "even"


def _json(found: Figure, name: str = "value") -> dict[str, Any]:
    content = dataclasses.asdict(found)
    return {name: content.pop("value"), **content}
