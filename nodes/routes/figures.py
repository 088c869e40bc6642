"""POST /psa/estimate: density and expected speed-up of a preset at a video's size.

Of an attention call, of a whole step and, with a plan, of a whole run.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from aiohttp import web

from ..dense_blocks import read_dense_blocks
from ..estimate.density import Density, Tokens, density
from ..estimate.figure import Figure, verdict
from ..estimate.gpu import this_gpu
from ..estimate.models import MODELS, Model
from ..estimate.step import Plan, StepEstimate, estimate_step
from .bodies import Body, bad_request
from .drafts import take_draft
from .users import store_of

MOST_PIXELS, MOST_FRAMES, MOST_TOKENS = 16_384, 10_000, 50_000_000
LONGEST_NAME = 100  # of a GPU


def estimate(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    store, body = store_of(request), Body(content)
    config = take_draft(body, store).config()
    name = body.take("family", str)
    width, height = (body.number(side, int, 16, MOST_PIXELS) for side in ("width", "height"))
    frames = body.number("frames", int, 1, MOST_FRAMES)
    model = _model(name, body.take("model", dict, None))
    gpu = (body.take("gpu", str, None) or "")[:LONGEST_NAME] or this_gpu()
    plan = _plan(body.take("plan", dict, None))
    min_tokens = body.number("min_tokens", int, 0, MOST_TOKENS, 0)
    dense_blocks = _dense_blocks(body.take("dense_blocks", str, ""))
    body.done()
    family = store.get_family(name)
    tokens = Tokens(family.video_scale.grid(width, height, frames), family.text_length or 0)
    if tokens.total > MOST_TOKENS:
        raise bad_request(f"width, height, frames: {tokens.total} tokens are too many")
    found = density(config, tokens, model.blocks if model else 0)
    whole = estimate_step(
        config, tokens, model, plan, gpu=gpu, dense_blocks=dense_blocks, found=found
    )
    if family.text_length is None:
        found, whole = _without_text(found), _each(whole, _NO_TEXT)
    run = whole.run
    if plan and tokens.video < min_tokens:
        run = Figure(1.0, "dense", note="fewer video tokens than min_tokens: all steps are dense")
    return {
        "tokens": {"grid": list(tokens.grid), "video": tokens.video, "text": family.text_length,
                   "total": tokens.total},
        "model": {"heads": model.heads, "head_dim": model.head_dim} if model else None,
        "density": {
            key: getattr(found, key)
            for key in ("value", "low", "high", "kind", "profile", "profiles", "per_level", "note")
        },
        "attention": _json(whole.attention, "speedup"),
        "step": {
            **_json(whole.step, "speedup"),
            **{
                name: _json(getattr(whole, name))
                for name in ("flops_share", "less_work", "time_share", "dense_s", "sparse_s")
            },
        },
        "run": {**_json(run, "speedup"), **dataclasses.asdict(plan)} if plan else None,
        "break_even": _json(whole.break_even, "tokens"),
        "gpu": gpu,
    }


_NO_TEXT = (
    "text not counted, nor sound or references in the sequence: how many tokens they have varies"
)


def _without_text(found: Density) -> Density:
    if found.value is None or found.kind == "dense":
        return found
    kind = "extrapolated" if found.kind == "exact" else found.kind
    return dataclasses.replace(found, kind=kind, note=f"{found.note}; {_NO_TEXT}")


def _each(whole: StepEstimate, note: str) -> StepEstimate:
    figures = {name: x.noted(note, "extrapolated") for name, x in vars(whole).items() if x}
    return dataclasses.replace(whole, **figures)


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
    return Model(comfy="", kind="", **sizes)


def _plan(given: dict[str, Any] | None) -> Plan | None:
    if given is None:
        return None
    body = Body(given, "plan")
    steps = body.number("steps", int, 1, 10_000)
    plan = Plan(steps, body.number("sparse", int, 0, steps))
    body.done()
    return plan


def _dense_blocks(text: str) -> frozenset[int]:
    """The blocks that Apply PSA's input `dense_blocks` names."""
    try:
        return read_dense_blocks(text)
    except ValueError as error:
        raise bad_request(str(error)) from None


def _json(found: Figure, name: str = "value") -> dict[str, Any]:
    content = dataclasses.asdict(found)
    said = {"verdict": verdict(found)} if name == "speedup" else {}
    return {name: content.pop("value"), **said, **content}
