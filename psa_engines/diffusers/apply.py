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

    preset        "family/name" of a preset, "family" for its default, or a configuration. Of models
                  whose family is sure "name" is enough, and None gives their default
    presets_file  a file of presets, which go before the shipped ones
    scheduler     which tells the steps; a pipeline's own if absent. Without any, the step of a call
                  is unknown, and it stays dense
    dense_blocks  transformer blocks that stay dense
    min_tokens    calls with fewer video tokens than this stay dense
    on_progress   gets {"text", "step", "steps", "state", "density", "speedup"} while a run goes on

    What was applied before is replaced. A transformer that PSA does not know stays dense, which is
    said in the log and in the report. Raises `TypeError` for what holds no transformer, the
    presets' `PresetError` for a preset that is not there, `ValueError` for a transformer that is
    shared out over GPUs in a way that PSA cannot serve; if that comes later, its next call raises.
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
    """Gives every transformer its own processors back."""
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
    """Those of a pipeline, or what is one itself; of compiled ones what was compiled."""
    if isinstance(given, torch.nn.Module):
        found = [given]
    else:
        found = [getattr(given, name, None) for name in _TRANSFORMERS]
    return [getattr(x, "_orig_mod", x) for x in found if isinstance(x, torch.nn.Module)]
