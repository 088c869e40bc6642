"""POST /psa/validate: what is wrong with a preset, how to fix it, and the preset in every form."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from ...psa_kernels.config import FIELD_BY_PATH
from .bodies import Body, bad_request, did_you_mean
from .drafts import take_draft
from .users import store_of


def validate(request: web.Request, content: dict[str, Any]) -> dict[str, Any]:
    body = Body(content)
    changes = body.take("changes", dict, {})
    for path in changes:
        inside = _IN_ENTRY.sub("", path, count=1)
        if not _ENTRY.fullmatch(path) and not _is_field(inside):
            near = did_you_mean(inside, FIELD_BY_PATH)
            raise bad_request(f"changes: there is no field {path[:60]!r}{near}")
    draft = take_draft(body, store_of(request), changes)
    body.done()
    issues = draft.issues()
    lines = dict(draft.document.lines) if draft.document else {}
    return {"ok": not issues, "issues": issues, **draft.answer(), "lines": lines or None}


def _is_field(path: str) -> bool:
    section, _, level = path.rpartition(".")
    return path in FIELD_BY_PATH or (section == "mask_ratios" and level in _LEVELS)


# blocks.12, steps.0-12.5% and steps.0-12.5%.blocks.12
_BLOCKS = r"blocks\.[\d ,;-]+"
_STEPS = r"steps\.[\d. -][\d.% -]*%"
_ENTRY = re.compile(rf"{_BLOCKS}|{_STEPS}(?:\.{_BLOCKS})?")
_IN_ENTRY = re.compile(rf"^(?:{_STEPS}\.)?(?:{_BLOCKS}\.)?")
_LEVELS = ("1", "2", "4", "8", "0")
