"""POST /psa/import and GET /psa/export: presets as YAML text, in and out."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ...presets.shapes import is_single_preset
from ...presets.yaml_text import parse
from .bodies import Body, bad_request
from .errors import Refusal
from .stored import changed
from .users import store_of


def import_text(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    store, body = store_of(request), Body(content)
    text = body.take("yaml", str)
    family, preset = body.take("family", str, None), body.take("preset", str, None)
    replace = body.take("replace", bool, False)
    body.done()
    if (family is None) != (preset is None):
        raise bad_request("family, preset: give both for a single preset, none for families")
    if family is None and is_single_preset(parse(text, "the imported text")):
        what = "this is a single preset; say which family and name it gets"
        raise Refusal(422, "name_needed", what)
    imported = store.import_text(text, family, preset, replace=replace)
    return {
        "saved": [
            {"family": name, "preset": inner, "version": store.version(name, inner)}
            for name, inner in imported.saved
        ],
        "skipped": [{"family": name, "preset": inner} for name, inner in imported.skipped],
        "notes": [problem.to_json() for problem in imported.notes],
        "store_version": changed(request, store) if imported.saved else store.stamp(),
    }


def export(request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    family, preset = request.query.get("family"), request.query.get("preset")
    if family is None:
        raise bad_request("family: is missing")
    text = store_of(request).export(family, preset)
    name = family if preset is None else f"{family} {preset}"
    return {"yaml": text, "filename": f"{name}.yaml"}
