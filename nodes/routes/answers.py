"""A preset in an answer: see docs/routes.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...presets.yaml_text import dump
from ...psa_kernels.config import (
    DENSE,
    FIELD_BY_ARGUMENT,
    LEVELS,
    BlockOverrides,
    PSAConfig,
    StepRanges,
    check_preset,
    not_applicable,
)
from .. import field_widgets
from ..editing import lay_over, node_values
from ..estimate.calls import calls_of_run
from ..estimate.density import USUAL, density
from ..estimate.models import MODELS

NO_BLOCKS = FIELD_BY_ARGUMENT["blocks"].default
NO_RANGES = FIELD_BY_ARGUMENT["steps"].default
NO_TAIL = FIELD_BY_ARGUMENT["tail"].default


def preset_json(
    config: PSAConfig, base: PSAConfig | None = None, family: str = ""
) -> dict[str, Any]:
    """A valid preset in an answer; `family`: the one that it is stored in."""
    widgets, overrides = node_values(config, base)
    values = {name: getattr(config, name) for name in config.__dataclass_fields__}
    return {
        "config": config.to_preset(whole=True),
        "yaml": dump(config.to_preset()),
        "node": {"widgets": widgets, "yaml_overrides": overrides},
        "pyramid": _pyramid(config.mask_ratios, config.tail),
        "not_applicable": not_applicable(values),
        "single_blocks": _single_blocks(config.blocks),
        "step_ranges": {**_step_ranges(config.steps), "run": _run(config, family)},
    }


def unfinished_json(mapping: Mapping[str, Any] | None, node: Any) -> dict[str, Any]:
    """A preset that is not valid; `mapping` is None where its text could not be read."""
    whole = None
    if mapping is not None:  # a form shows every field
        whole = PSAConfig().to_preset(whole=True)
        lay_over(whole, mapping)
    good = check_preset(whole)[0] if whole is not None else {}
    pyramid = None
    if "mask_ratios" in good:
        pyramid = _pyramid(good["mask_ratios"], good.get("tail", NO_TAIL))
    return {
        "config": _in_json(whole),
        "yaml": None if mapping is None else dump(mapping),
        "node": node,
        "pyramid": pyramid,
        "not_applicable": not_applicable(good),
        "single_blocks": _single_blocks(good.get("blocks", NO_BLOCKS)),
        "step_ranges": {**_step_ranges(good.get("steps", NO_RANGES)), "run": []},
    }


def _pyramid(ratios: Mapping[int, tuple[float, float]], tail: int | str) -> list[dict[str, Any]]:
    """Every level in reading order; one that is not there has no width."""
    found, upper = [], 0.0
    for level in LEVELS:
        lower, upper = ratios.get(level, (upper, upper))
        pool = level or (None if tail == NO_TAIL else tail)
        found.append(
            {
                "level": level,
                "from": lower,
                "to": upper,
                "pool": pool,
                "widget": field_widgets.UPPER.get(level),
            }
        )
    return found


def _single_blocks(overrides: BlockOverrides) -> dict[str, Any]:
    """How many blocks have settings of their own, and which, in words."""
    return {
        "count": len(overrides),
        "entries": [
            {"blocks": str(key), "settings": settings}
            for key, settings in _in_words(overrides).items()
        ],
    }


def _step_ranges(ranges: StepRanges) -> dict[str, Any]:
    """How many ranges of steps have settings of their own, and which, in words."""
    entries = [{"steps": key, "settings": said} for key, said in _in_words(ranges).items()]
    return {"count": len(ranges), "entries": entries}


def _run(config: PSAConfig, family: str) -> list[dict[str, Any]]:
    """The parts of a run, in percent, and how dense each is; [] where all are alike."""
    if not config.steps or config.type == DENSE:
        return []
    model, found, begin = MODELS.get(family), [], 0.0
    for start, end in [*sorted(config.steps), (100.0, 100.0)]:
        for upto, range_ in ((start, None), (end, (start, end))):
            if upto > begin:
                calls = calls_of_run(config.of_ranges[range_], model.blocks if model else 0)
                share = density(calls, USUAL).value
                found.append({"from": begin, "to": upto, "density": share})
                begin = upto
    return found


def _in_words(own: BlockOverrides | StepRanges) -> dict[Any, str]:
    return {
        key: settings if settings == DENSE else _flow(settings)
        for key, settings in own.to_preset().items()
    }


def _flow(settings: Mapping[str, Any]) -> str:
    """Settings in one line: "mask_ratios: {1: [0, 0.2], 0: [0.2, 1]}, tail: 64"."""
    parts = []
    for key, value in settings.items():
        inner = f"{{{_flow(value)}}}" if isinstance(value, Mapping) else dump({key: value})
        parts.append(f"{key}: {inner}" if isinstance(value, Mapping) else inner.rstrip())
    return ", ".join(parts)


def _in_json(value: Any) -> Any:
    """A draft's value with YAML's numbers that JSON lacks as YAML writes them."""
    if isinstance(value, Mapping):
        return {key: _in_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_in_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return value
