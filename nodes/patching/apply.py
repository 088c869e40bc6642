"""Puts PSA on a clone of a model.

Two wrappers, both on the clone's own options: one around a whole sampler run (plan before, summary
after), one around each call of the model, which lays an attention override over whatever override
is there by then, whether another node put it on before or after this one. Nothing else is touched.
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

KEY = "psa"  # of the wrappers


def apply_psa(
    model: Any,
    preset: PresetValue,
    options: PatchOptions,
    on_report: Callable[[dict[str, Any]], None] | None = None,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Any:
    """A clone of the `ModelPatcher` that samples with PSA; `model` itself is left as it is.

    `on_report` gets each finished run's report (see `Run.finish`), `on_progress` what is going on
    meanwhile (see `LiveText`). A PSA patch that was on the model already is replaced: two would
    plan the same calls twice.
    """
    patched = model.clone()
    log_of_runs = RunLog()
    patched.model_options.setdefault("transformer_options", {})[LOG] = log_of_runs
    wrappers = comfy.patcher_extension.WrappersMP
    for kind, wrapper in (
        (
            wrappers.OUTER_SAMPLE,
            run_wrapper(preset, options, log_of_runs, on_report, on_progress),
        ),
        (wrappers.APPLY_MODEL, serve_model_call),
    ):
        patched.remove_wrappers_with_key(kind, KEY)
        patched.add_wrapper_with_key(kind, KEY, wrapper)
    return patched
