"""Puts PSA on a pipeline or a transformer, and takes it off."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from ..core.preset_value import PresetValue
from ..ground import PSAConfig
from ..preset_by_name import preset_value
from .applied import NO_SCHEDULER, Applied
from .families import FAMILIES, family_of, preset_family
from .processor import PSAProcessor
from .several_gpus import check_shared

log = logging.getLogger("PSA")

_TRANSFORMERS = ("transformer", "transformer_2")  # of a pipeline: Wan 2.2 has two experts
_KEY = "_psa_applied"


def apply_psa(
    pipeline_or_transformer: Any,
    preset: str | PSAConfig | PresetValue | None = None,
    *,
    presets_file: str | Path | None = None,
    scheduler: Any = None,
    dense_blocks: Iterable[int] = (),
    min_tokens: int = 0,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Applied:
    """Serves the video self-attention of a pipeline's transformers, or of one transformer.

    preset        "family/name" of a preset, "family" for its default, or a configuration. If the
                  model's family is certain, "name" is enough, and None means its default
    presets_file  a file of presets, which take precedence over the shipped ones
    scheduler     which knows the steps; by default the pipeline's own. Without one, the step of a
                  call is unknown, and the call stays dense
    dense_blocks  transformer blocks that stay dense
    min_tokens    calls with fewer video tokens than this stay dense
    on_progress   called with {"text", "step", "steps", "state", "density", "speedup"} during a run

    It replaces what was applied before. A transformer that PSA does not know stays dense; the log
    and the report say so. Raises `TypeError` if there is no transformer, the presets' `PresetError`
    if there is no such preset, and `ValueError` if the transformer is split over GPUs in a way that
    PSA cannot serve. If it is split later, its next call raises.
    """
    models = _transformers(pipeline_or_transformer)
    if not models:
        raise TypeError(
            f"pipeline_or_transformer: found {type(pipeline_or_transformer).__name__}, which has "
            "no transformer; give a diffusers pipeline or one of its transformers"
        )
    value = preset_value(preset, presets_file, preset_family(models))
    for model in models:
        if family_of(model):
            check_shared(model)
    remove_psa(pipeline_or_transformer)
    scheduler_now = _scheduler_of(pipeline_or_transformer, scheduler)
    note = NO_SCHEDULER if scheduler_now() is None else None
    for model in models:
        if family_of(model) is None:
            note = (
                f"PSA does not know {type(model).__name__}, which stays dense; it knows "
                f"{', '.join(FAMILIES)}"
            )
            log.warning("PSA %s: %s", value.label, note)
    applied = Applied(
        value, scheduler_now, frozenset(dense_blocks), min_tokens, on_progress, note
    )  # fmt: skip
    for model in models:
        if family := family_of(model):
            applied.put_on(model, family)
            setattr(model, _KEY, applied)
    return applied


def remove_psa(pipeline_or_transformer: Any) -> None:
    """Restores every transformer's own processors."""
    for model in _transformers(pipeline_or_transformer):
        applied = model.__dict__.pop(_KEY, None)
        if applied is not None:
            applied.take_off()
        for module in model.modules():
            processor = getattr(module, "processor", None)
            if isinstance(processor, PSAProcessor):
                module.set_processor(processor.inner)


def _scheduler_of(given: Any, scheduler: Any) -> Callable[[], Any]:
    if scheduler is not None:
        return lambda: scheduler
    pipeline = weakref.ref(given)
    return lambda: getattr(pipeline(), "scheduler", None)


def _transformers(given: Any) -> list[torch.nn.Module]:
    """A pipeline's transformers, or the one that is given; the original of a compiled one."""
    if isinstance(given, torch.nn.Module):
        found = [given]
    else:
        found = [getattr(given, name, None) for name in _TRANSFORMERS]
    return [getattr(x, "_orig_mod", x) for x in found if isinstance(x, torch.nn.Module)]
