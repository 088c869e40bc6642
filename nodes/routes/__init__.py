"""The pack's HTTP routes under /psa, as docs/routes.md describes them.

Thin: they read a request, ask the preset store, the validator or the planner, and write the answer.
"""

from __future__ import annotations

import logging

from aiohttp import web
from server import PromptServer

from ..extension import NODES
from ..queued import install
from . import fields, plan, stored, transfer, validation
from .figures import estimate
from .guard import guarded

log = logging.getLogger("PSA")

ROUTES = (
    ("GET", "/psa/fields", fields.get_fields),
    ("POST", "/psa/validate", validation.validate),
    ("GET", "/psa/presets", stored.list_presets),
    ("GET", "/psa/version", stored.version),
    ("GET", "/psa/presets/{family}/{preset}", stored.get_preset),
    ("PUT", "/psa/presets/{family}/{preset}", stored.put_preset),
    ("DELETE", "/psa/presets/{family}/{preset}", stored.delete_preset),
    ("POST", "/psa/presets/{family}/{preset}/duplicate", stored.duplicate),
    ("POST", "/psa/presets/{family}/{preset}/rename", stored.rename),
    ("POST", "/psa/import", transfer.import_text),
    ("GET", "/psa/export", transfer.export),
    ("POST", "/psa/estimate", estimate),
    ("POST", "/psa/plan", plan.plan),
)


def register(table: web.RouteTableDef) -> bool:
    """Adds the routes, unless they are there; ComfyUI serves each of them under /api too."""
    if any(getattr(route, "path", "") == ROUTES[0][1] for route in table):
        # A path that is there twice would keep ComfyUI from starting.
        log.warning("PSA: another copy of this pack is installed; it serves the routes under /psa")
        return False
    for method, path, handler in ROUTES:
        table.route(method, path)(guarded(handler))
    return True


def register_routes() -> None:
    """Adds the routes to ComfyUI's server; a process without one needs none."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and register(server.routes):
        install(server, NODES)
