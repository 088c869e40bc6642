"""Puts PSA on a model of transformers, and takes it off."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from ..core.preset_value import PresetValue
from ..ground import PSAConfig, check_causal
from ..preset_by_name import preset_value
from .applied import Applied

log = logging.getLogger("PSA")

PRESETS = Path(__file__).with_name("presets.yaml")
# class of the module that holds the language model -> its preset family, if any
MODELS = {
    "Qwen2_5_VLModel": "Qwen2.5-VL",
    "Qwen2VLModel": "Qwen2.5-VL",
    "Qwen3VLModel": "Qwen2.5-VL",
    "LlavaOnevisionModel": None,
}
_KEY = "_psa_applied"


def apply_psa(
    model: torch.nn.Module,
    preset: str | PSAConfig | PresetValue | None = None,
    *,
    presets_file: str | Path | None = None,
    dense_blocks: Iterable[int] = (),
    min_tokens: int = 0,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Applied:
    """Serves the prefill of prompts with one video: causal, its text exact.

    preset        "family/name" of a preset, "family" for its default, or a configuration, with
                  attn_impl "old_mask_type" and no rearrangement. If the model's family is known,
                  "name" is enough, and None means its default
    presets_file  a file of presets, which take precedence over the shipped ones
    dense_blocks  layers that stay dense
    min_tokens    prompts with fewer video tokens than this stay dense
    on_progress   called with {"text", "step", "steps", "state", "density", "speedup"}

    The language model's attention becomes "psa"; the vision tower keeps its own. It replaces what
    was applied before. A model that PSA does not know stays dense; the log and the report say so.
    Raises `TypeError` for anything but a model, the presets' `PresetError` if there is no such
    preset, and psa_kernels' `CallError` for one that cannot be causal.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: found {type(model).__name__}; give a model of transformers")
    found = _known(model)
    family = MODELS[_name(found[0])] if found else None
    value = preset_value(preset, presets_file, family, PRESETS)
    if value.config.type != "dense":
        check_causal(value.config)
    remove_psa(model)
    note = None
    if not found:
        note = (
            f"PSA does not know {type(model).__name__}, which stays dense; it knows "
            f"{', '.join(MODELS)}"
        )
        log.warning("PSA %s: %s", value.label, note)
    applied = Applied(value, frozenset(dense_blocks), min_tokens, on_progress, note)
    for module in found:
        applied.put_on(module)
        setattr(module, _KEY, applied)
    return applied


def remove_psa(model: torch.nn.Module) -> None:
    """Restores the language model's own attention."""
    for module in _known(model):
        applied = module.__dict__.pop(_KEY, None)
        if applied is not None:
            applied.take_off()


def _known(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in model.modules() if _name(module) is not None]


def _name(module: torch.nn.Module) -> str | None:
    names = (kind.__name__ for kind in type(module).__mro__)
    return next((name for name in names if name in MODELS), None)
