"""Listing, reading and changing stored presets: /psa/presets and /psa/version."""

from __future__ import annotations

import dataclasses
from typing import Any

from aiohttp import web

from ...presets.errors import CollisionError, ConflictError, PresetError, Problem
from ...presets.listing import ABSENT
from ...presets.store import PresetStore
from ...psa_kernels.config import PSAConfig
from ..store import tell_changed
from .answers import preset_json
from .bodies import Body
from .drafts import take_draft
from .errors import Refusal
from .guard import reply
from .users import store_of, user_of


def list_presets(request: web.Request, body: dict[str, Any]) -> Any:
    store = store_of(request)
    version = store.stamp()  # before reading: a change in between is noticed at the next look
    headers = {"ETag": f'"{version}"'}
    if f'"{version}"' in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    listing = store.list()
    content = {
        "version": version,
        "families": [dataclasses.asdict(family) for family in listing.families],
        "problems": [problem.to_json() for problem in listing.problems],
    }
    return reply(content, headers=headers)


def version(request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    return {"version": store_of(request).stamp()}


def get_preset(request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    store, query = store_of(request), request.query
    base = None
    if "base_family" in query or "base_preset" in query:
        base = store.get(query.get("base_family", ""), query.get("base_preset", ""))
    return _stored_json(store, *_named(request), base)


def put_preset(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    store, (family, preset) = store_of(request), _named(request)
    body = Body(content)
    expected = _expected(body)
    draft = take_draft(body, store)
    body.done()
    config = draft.config()
    created = store.version(family, preset) == ABSENT
    notes = _notes(store, family, preset)  # of the file as it is before
    with _conflicts(store, family, preset):
        store.save(family, preset, config, expected=expected)
    return {
        **_stored_json(store, family, preset, draft.base),
        "created": created,
        "notes": notes,
        "store_version": changed(request, store),
    }


def duplicate(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    store, (family, preset) = store_of(request), _named(request)
    body = Body(content)
    to, into = body.take("to", str), body.take("family", str, family)
    body.done()
    config = store.get(family, preset)
    try:
        store.save(into, to, config, expected=ABSENT)
    except ConflictError:
        what = f"the name {to} is taken in {into}"
        raise CollisionError(
            Problem(what, mend="choose another name", family=into, preset=to)
        ) from None
    return {
        **_stored_json(store, into, to),
        "created": True,
        "store_version": changed(request, store),
    }


def rename(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    store, (family, preset) = store_of(request), _named(request)
    body = Body(content)
    expected, to = _expected(body), body.take("to", str)
    body.done()
    with _conflicts(store, family, preset):
        store.rename(family, preset, to, expected=expected)
    return {**_stored_json(store, family, to), "store_version": changed(request, store)}


def delete_preset(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    store, (family, preset) = store_of(request), _named(request)
    body = Body(content)
    expected = _expected(body)
    body.done()
    with _conflicts(store, family, preset):
        text = store.delete(family, preset, expected=expected)
    undo = {"method": "POST", "path": "/psa/import", "body": {"yaml": text}} if text else None
    return {
        "family": family,
        "preset": preset,
        "undo": undo,
        "store_version": changed(request, store),
    }


def changed(request: web.Request, store: PresetStore) -> str:
    """Tells every open page that this user's presets changed; returns the new version."""
    return tell_changed(user_of(request), store)


def _named(request: web.Request) -> tuple[str, str]:
    return request.match_info["family"], request.match_info["preset"]


def _expected(body: Body) -> str | None:
    # Not to be left out: who means to overwrite whatever is there says so.
    if "expected" not in body:
        raise Refusal(400, "bad_request", "expected: is missing; give a version, absent or null")
    return body.take("expected", str, None)


class _conflicts:  # noqa: N801
    """Answers a conflict with the preset as it is now."""

    def __init__(self, store: PresetStore, family: str, preset: str):
        self._place = store, family, preset

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ConflictError):
            try:
                current = _stored_json(*self._place)
            except PresetError:  # it is gone, or broken
                current = None
            raise Refusal(409, "conflict", str(error), current=current) from None


def _stored_json(
    store: PresetStore, family: str, preset: str, base: PSAConfig | None = None
) -> dict[str, Any]:
    info, config = store.find(family, preset)
    return {
        "family": family, "preset": info.name, "origin": info.origin, "version": info.version,
        "is_default": info.is_default, **preset_json(config, base, family),
        "notes": _notes(store, family, info.name) if info.origin == "user" else [],
    }  # fmt: skip


def _notes(store: PresetStore, family: str, preset: str) -> list[dict[str, Any]]:
    """What saving does to comments in the preset's file that cannot be kept."""
    return [note.to_json() for note in store.lost_comments(family, preset)]
