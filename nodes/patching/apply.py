"""Puts PSA on a clone of a model.

Two wrappers, both in the clone's own options: one around a whole sampler run (plan before, summary
after), one around each call of the model. That one lays PSA's attention override over whatever
override is there by then, no matter which node came first. Nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.patcher_extension

from ...psa_engines.core.preset_value import PresetValue
from ..recording.run_log import KEY as LOG
from ..recording.run_log import RunLog
from .around_call import serve_model_call
from .around_run import run_wrapper
from .run import PatchOptions

KEY = "psa"


def apply_psa(
    model: Any,
    preset: PresetValue,
    options: PatchOptions,
    on_report: Callable[[dict[str, Any]], None] | None = None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Any:
    """A clone of the `ModelPatcher` that samples with PSA; `model` itself is left as it is.

    `on_report` gets each finished run's report (see `Run.finish`), `on_progress` its progress (see
    `LiveText`). An earlier PSA patch on the model is replaced: two would plan the same calls twice.
    """
    runs = RunLog()
    patched = with_wrappers(
        model, run_wrapper(preset, options, runs, on_report, on_progress), serve_model_call
    )
    patched.model_options.setdefault("transformer_options", {})[LOG] = runs
    return patched


def with_wrappers(model: Any, around_run: Callable, around_call: Callable) -> Any:
    """A clone of the `ModelPatcher` with these wrappers in place of PSA's, if it had them."""
    clone = model.clone()
    kinds = comfy.patcher_extension.WrappersMP
    for kind, wrapper in ((kinds.OUTER_SAMPLE, around_run), (kinds.APPLY_MODEL, around_call)):
        clone.remove_wrappers_with_key(kind, KEY)
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone
