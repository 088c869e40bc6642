"""What the store tells about all it has: plain records for lists, routes and editors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .catalog import Catalog
from .errors import Problem
from .family import Family, VideoScale

ABSENT = "absent"  # the version of a preset that does not exist


@dataclass(frozen=True)
class PresetInfo:
    """`origin` is "shipped" or "user"; `version` changes whenever the preset's content does.

    `by_step` says that some steps of a run have settings of their own.
    """

    name: str
    origin: str
    file: str
    is_default: bool
    type: str
    description: str
    by_step: bool
    version: str


@dataclass(frozen=True)
class FamilyInfo:
    name: str
    origin: str
    default: str
    video_scale: VideoScale
    text_length: int | None
    presets: tuple[PresetInfo, ...]


@dataclass(frozen=True)
class Listing:
    """`problems`: what is wrong in any file; each names its file, and its preset where known."""

    families: tuple[FamilyInfo, ...]
    problems: tuple[Problem, ...]


def listing(catalog: Catalog) -> Listing:
    families = tuple(_family_info(catalog, family) for family in catalog.families.values())
    return Listing(families, tuple(catalog.problems))


def version_of(preset: Mapping[str, Any]) -> str:
    """A short token for a preset's mapping."""
    content = json.dumps(preset, default=repr).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def preset_info(catalog: Catalog, family: Family, name: str) -> PresetInfo:
    source, config = catalog.preset_source[family.name, name], family.attention_configs[name]
    return PresetInfo(
        name=name,
        origin=source.origin,
        file=source.file,
        is_default=name == family.default_attention,
        type=config.type,
        description=config.description,
        by_step=config.type == "psa" and bool(config.steps),
        version=version_of(config.to_preset()),
    )


def _family_info(catalog: Catalog, family: Family) -> FamilyInfo:
    return FamilyInfo(
        name=family.name,
        origin=catalog.family_source[family.name].origin,
        default=family.default_attention,
        video_scale=family.video_scale,
        text_length=family.text_length,
        presets=tuple(preset_info(catalog, family, name) for name in family.attention_configs),
    )
