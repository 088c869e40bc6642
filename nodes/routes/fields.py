"""GET /psa/fields: the field descriptions, for forms."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ...presets.names import RULE
from ...psa_kernels.config import (
    FIELDS,
    GROUPS,
    LEVELS,
    Field,
)
from ...psa_kernels.config.block_overrides import plain
from .. import field_widgets
from ..languages import LANGUAGES, Words, words
from .plan import SCHEDULER, schedulers


def get_fields(request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
    wanted = request.query.get("locale", "en")
    locale = wanted if wanted in LANGUAGES else "en"
    spoken = words(locale)
    return {
        "groups": [{"id": name, "label": spoken.group(name)} for name in GROUPS],
        "fields": [field_json(field, spoken) for field in FIELDS],
        "levels": [
            {"level": level, "label": spoken.level(level), "widget": field_widgets.UPPER.get(level)}
            for level in LEVELS
        ],
        "schedulers": {"names": schedulers(), "default": SCHEDULER},
        "locale": locale,
        "locales": list(LANGUAGES),
        "name_rule": RULE,
    }


def field_json(field: Field, spoken: Words) -> dict[str, Any]:
    help_text = spoken.help(field)
    return {
        "path": field.path,
        "group": field.group,
        "kind": field.kind,
        "label": spoken.label(field),
        "help": help_text,
        "default": plain(field.default),
        "choices": list(field.choices),
        "choice_help": [list(pair) for pair in field.choice_help(help_text)],
        "low": field.low,
        "high": field.high,
        "step": field.step,
        "length": field.length,
        "unit": spoken.unit(field.unit),
        "widgets": field_widgets.names(field),
    }
