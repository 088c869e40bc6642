"""POST /psa/estimate: density and expected speed-up of a preset at a video's size."""

from __future__ import annotations

import dataclasses
from typing import Any

from aiohttp import web

from ..estimate.density import Tokens, density
from ..estimate.models import MODELS, Model
from ..estimate.speed import speedup, step_speedup
from .bodies import Body, bad_request
from .drafts import take_draft
from .users import store_of

MOST_PIXELS, MOST_FRAMES, MOST_TOKENS = 16_384, 10_000, 50_000_000


def estimate(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    store, body = store_of(request), Body(content)
    config = take_draft(body, store).config()
    name = body.take("family", str)
    width, height = (body.number(side, int, 16, MOST_PIXELS) for side in ("width", "height"))
    frames = body.number("frames", int, 1, MOST_FRAMES)
    model = _model(name, body.take("model", dict, None))
    body.done()
    family = store.get_family(name)
    tokens = Tokens(family.video_scale.grid(width, height, frames), family.text_length)
    if tokens.total > MOST_TOKENS:
        raise bad_request(f"width, height, frames: {tokens.total} tokens are too many")
    found = density(config, tokens)
    return {
        "tokens": {"grid": list(tokens.grid), "video": tokens.video, "text": tokens.text,
                   "total": tokens.total},
        "model": {"heads": model.heads, "head_dim": model.head_dim} if model else None,
        "density": {
            key: getattr(found, key)
            for key in ("value", "low", "high", "kind", "profile", "profiles", "per_level", "note")
        },
        "attention": _speedup_json(speedup(config, tokens, found, model)),
        "step": _speedup_json(step_speedup()),
    }


def _model(family: str, given: dict[str, Any] | None) -> Model | None:
    if given is None:
        return MODELS.get(family)
    body = Body(given, "model")
    heads = body.number("heads", int, 1, 1024)
    model = Model(heads, body.number("head_dim", int, 1, 1024), "", "")
    body.done()
    return model


def _speedup_json(found: Any) -> dict[str, Any]:
    content = dataclasses.asdict(found)
    return {"speedup": content.pop("value"), **content}
