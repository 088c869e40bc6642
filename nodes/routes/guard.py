"""What every route has in common: who may ask, how a body is read, and how an error is answered.

A browser sends JSON to another site only after asking it first, which ComfyUI never allows; so the
content type and the origin keep other sites' pages out, also where ComfyUI listens on a network.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import math
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from comfy.cli_args import args

from ...presets import yaml_text
from .bodies import as_json
from .errors import Refusal, answer_for

log = logging.getLogger("PSA")

MAX_BODY = 1024 * 1024
MAX_DEPTH = 16  # a preset in a request needs 5
# the limits of YAML (presets/yaml_text.py), so that what it would refuse costs no work here
MAX_KEY = 2 * yaml_text.MAX_KEY  # a path in `changes` has a list of blocks in its middle
MAX_DIGITS = 1000  # int() takes long for more
DEFAULT_PORTS = {"http": 80, "https": 443}

# (request, body) -> what the JSON answer holds, or a finished answer. Called in a thread of its
# own: files and locks may take their time, and ComfyUI's loop must not wait.
Handler = Callable[[web.Request, dict[str, Any]], Any]


def guarded(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """The aiohttp handler of a route."""

    @functools.wraps(handler)
    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            _check_origin(request)
            body = {} if request.method in ("GET", "HEAD") else await _body(request)
            answer = await asyncio.to_thread(handler, request, body)
            return answer if isinstance(answer, web.StreamResponse) else reply(answer)
        except (asyncio.CancelledError, web.HTTPException):
            raise
        except Exception as error:
            status, content = answer_for(error)
            if status == 500:
                log.exception("PSA: %s %s failed", request.method, request.path)
            return reply(content, status)

    return serve


def reply(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response(
        content, status=status, headers={"Cache-Control": "no-store", **(headers or {})},
        dumps=functools.partial(json.dumps, allow_nan=False),
    )  # fmt: skip


def _check_origin(request: web.Request) -> None:
    allowed = args.enable_cors_header
    origin = request.headers.get("Origin")
    if allowed and (allowed == "*" or origin == allowed):
        return
    foreign = request.headers.get("Sec-Fetch-Site") == "cross-site"
    if origin is not None and not foreign:
        foreign = _place(origin) != _place(f"{_scheme(origin)}://{request.headers.get('Host', '')}")
    if foreign:
        raise Refusal(403, "cross_origin", "requests from pages of other sites are not served")


def _scheme(origin: str) -> str:
    return origin.partition("://")[0].lower()


def _place(url: str) -> tuple[str, int] | None:
    """(host, port); None where there is none, which equals nothing."""
    try:
        parsed = urllib.parse.urlsplit(url)
        port = parsed.port or DEFAULT_PORTS[parsed.scheme]
        return (parsed.hostname.lower(), port) if parsed.hostname else (url, -1)
    except (ValueError, KeyError):
        return url, -1


async def _body(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        what = f"the content type is {request.content_type}; send application/json"
        raise Refusal(415, "wrong_content_type", what)
    if (request.content_length or 0) > MAX_BODY:
        raise _too_large()
    content = bytearray()
    try:
        async for chunk in request.content.iter_chunked(64 * 1024):
            content += chunk
            if len(content) > MAX_BODY:
                raise _too_large()
    except web.RequestPayloadError:  # not compressed or cut up as its headers say
        what = "the body cannot be read as Content-Encoding and Transfer-Encoding say"
        raise Refusal(400, "bad_request", what) from None
    return _parsed(bytes(content))


def _too_large() -> Refusal:
    return Refusal(413, "too_large", f"the body is larger than {MAX_BODY} bytes")


def _parsed(content: bytes) -> dict[str, Any]:
    if not content.strip():
        raise _beyond("is empty; a JSON object is expected")
    try:
        body = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_float=_finite,
            parse_int=_short, parse_constant=_no_constant,
        )  # fmt: skip
        # Half of a surrogate pair can be written in JSON and in nothing else.
        json.dumps(body, ensure_ascii=False).encode("utf-8")
    except Refusal:
        raise
    except UnicodeDecodeError:
        raise _beyond("is not UTF-8 text") from None
    except UnicodeEncodeError:
        raise _beyond("has half of a surrogate pair, which is not a character") from None
    except RecursionError:
        raise _beyond(f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise _beyond(f"is not JSON: {error}") from None
    _check_bounds(body)
    if not isinstance(body, dict):
        raise _beyond(f"is {as_json(body)}; a JSON object is expected")
    return body


def _check_bounds(body: Any) -> None:
    """Depth, number and size of what is in the body. Raises `Refusal`."""
    level, count = [body], 0
    for _ in range(MAX_DEPTH + 1):
        nested = [x for x in level if isinstance(x, (dict, list))]
        level = []
        for inner in nested:
            if len(inner) > yaml_text.MAX_ENTRIES:
                raise _beyond(f"has more than {yaml_text.MAX_ENTRIES} entries in one place")
            if isinstance(inner, dict) and any(len(key) > MAX_KEY for key in inner):
                raise _beyond(f"has a key of more than {MAX_KEY} characters")
            count += len(inner) * (2 if isinstance(inner, dict) else 1)
            level += inner.values() if isinstance(inner, dict) else inner
        if count > yaml_text.MAX_NODES:
            raise _beyond(f"has more than {yaml_text.MAX_NODES} keys and values")
    if any(isinstance(x, (dict, list)) for x in level):
        raise _beyond(f"is nested deeper than {MAX_DEPTH} levels")


def _beyond(what: str) -> Refusal:
    return Refusal(400, "bad_request", f"the body {what}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise Refusal(400, "bad_request", f"the key {twice[:60]!r} appears twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Refusal(400, "bad_request", f"the number {text[:40]} is too large")
    return value


def _short(text: str) -> int:
    if len(text) > MAX_DIGITS:
        what = f"the number {text[:20]}... has more than {MAX_DIGITS} digits"
        raise Refusal(400, "bad_request", what)
    return int(text)


def _no_constant(name: str) -> None:
    raise Refusal(400, "bad_request", f"{name} is not a JSON number")
