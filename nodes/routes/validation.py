"""POST /psa/validate: what is wrong with a preset, how to mend it, and the preset in every form."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from ...psa_kernels.config import FIELD_BY_PATH
from .bodies import Body, bad_request
from .drafts import take_draft
from .users import store_of


def validate(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    body = Body(content)
    changes = body.take("changes", dict, {})
    for path in changes:
        inside = _IN_BLOCKS.sub("", path)
        section, _, level = inside.rpartition(".")
        known = inside in FIELD_BY_PATH or (section == "mask_ratios" and level in _LEVELS)
        if not known and not _BLOCKS.fullmatch(path):
            raise bad_request(f"changes: there is no field {path[:60]!r}")
    draft = take_draft(body, store_of(request), changes)
    body.done()
    issues = draft.issues()
    lines = dict(draft.document.lines) if draft.document else {}
    return {"ok": not issues, "issues": issues, **draft.answer(), "lines": lines or None}


_BLOCKS = re.compile(r"blocks\.[\d ,;-]+")
_IN_BLOCKS = re.compile(_BLOCKS.pattern + r"\.")
_LEVELS = ("1", "2", "4", "8", "0")
