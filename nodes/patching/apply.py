"""Puts PSA on a clone of a model.

Two wrappers, both on the clone's own options: one around a whole sampler run (plan before, summary
after), one around each call of the model, which lays an attention override over whatever override
is there by then, whether another node put it on before or after this one. Nothing else is touched.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import comfy.patcher_extension
import torch
from comfy_execution.utils import get_executing_context

from ...psa_engines.core.faults import one_line, told
from ...psa_engines.core.preset_value import PresetValue
from ...psa_engines.core.recording.records import RunRecord
from ...psa_engines.core.schedule import DENSE_PRESET, Schedule
from ...psa_engines.core.summary import summary_line
from ...psa_engines.core.token_grid import TokenGrid
from ...psa_kernels.config import block_list_text
from ..recording.run_log import KEY as LOG
from ..recording.run_log import LoggedRun, RunLog
from .announcing import announce
from .bypass import look_for_bypass
from .compiled_models import OVERRIDE, traceable
from .faults import Interrupt, let_go
from .grids import ModelCall, contradictions, token_grid
from .override import AttentionOverride
from .planning import plan_run
from .recorded_models import LeftAlone, asked_each_time
from .run import PatchOptions, Run
from .sampler_told import known_churn, with_listener

log = logging.getLogger("PSA")

KEY = "psa"
RUN = "psa_run"


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
            _run_wrapper(preset, options, log_of_runs, on_report, on_progress),
        ),
        (wrappers.APPLY_MODEL, _model_call_wrapper),
    ):
        patched.remove_wrappers_with_key(kind, KEY)
        patched.add_wrapper_with_key(kind, KEY, wrapper)
    return patched


def _run_wrapper(
    preset: PresetValue,
    options: PatchOptions,
    runs: RunLog,
    on_report: Callable[[dict[str, Any]], None] | None,
    on_progress: Callable[[dict[str, Any]], None] | None,
) -> Callable:
    def sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            run, transformer_options = _start(
                executor.class_obj, args, kwargs, preset, options, on_progress
            )
        except Interrupt:
            raise
        except Exception as error:  # a guider or noise schedule like none in ComfyUI
            _unplanned(error, runs)
            return executor(*args, **kwargs)
        outer = transformer_options.get(RUN)
        transformer_options[RUN] = run
        ended = None
        try:
            args, kwargs = listening(run, executor, args, kwargs)
            return executor(*args, **kwargs)
        except BaseException as error:
            ended = "interrupted" if isinstance(error, Interrupt) else one_line(error)
            raise
        finally:
            transformer_options[RUN] = outer
            _report(run, ended, runs, on_report)
            run.end()

    return sample


def _unplanned(error: Exception, runs: RunLog) -> None:
    log.error("PSA cannot plan this run and leaves it dense: %s\n%s", one_line(error), told(error))
    let_go(error)
    try:
        runs.add(LoggedRun(prompt=_prompt(), note=f"PSA could not plan it: {one_line(error)}"))
    except Exception as failed:
        log.warning("PSA keeps no note of this run (%s)", one_line(failed))


def _start(
    guider: Any,
    args: tuple,
    kwargs: dict,
    preset: PresetValue,
    options: PatchOptions,
    on_progress: Callable[[dict[str, Any]], None] | None,
) -> tuple[Run, dict[str, Any]]:
    """The run that begins, and where the model calls of it look for it."""
    run = run_of(guider, args, kwargs, preset, options, on_progress)
    announce(run, _prompt())
    # The guider's options are this run's own copy; the model calls of the run see them.
    return run, guider.model_options.setdefault("transformer_options", {})


def run_of(
    guider: Any,
    args: tuple,
    kwargs: dict,
    preset: PresetValue,
    options: PatchOptions,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """The run for which a guider's sampling is called with these arguments."""
    sampler = kwargs["sampler"] if "sampler" in kwargs else args[2]
    sigmas = kwargs["sigmas"] if "sigmas" in kwargs else args[3]
    plan = _plan(guider, sigmas, preset, options)
    return Run(preset, options, plan, on_progress, known_churn(sampler, sigmas))


def listening(run: Run, executor: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The arguments of a sampling whose callback tells the run of each step, where it can."""
    try:
        return with_listener(executor.original, args, kwargs, run.current.called_back)
    except Exception as error:  # not every callable has a signature
        log.info("PSA %s: steps are told by their sigmas alone (%s)",
                 run.preset.label, one_line(error))
        return args, kwargs


def _plan(guider: Any, sigmas: Any, preset: PresetValue, options: PatchOptions) -> Schedule:
    # Read now, not when the patch was made: a later node may have changed the noise schedule.
    sampling = guider.model_patcher.get_model_object("model_sampling")
    config = preset.config
    if config.type == "dense":
        return plan_run(sampling, sigmas, 0, None).all_dense(DENSE_PRESET)
    return plan_run(sampling, sigmas, config.warmup_steps, options.window, config.steps)


def _report(
    run: Run,
    ended: str | None,
    runs: RunLog,
    on_report: Callable[[dict[str, Any]], None] | None,
) -> None:
    try:
        report, record = run.finish(ended)
        (log.error if run.failure else log.info)("PSA %s", summary_line(report))
        calls = report["calls"]
        seen = calls["sparse"] or calls["dense"] or run.bypassed
        if ended is None and run.schedule.steps and not seen:
            log.warning(
                "PSA %s: no attention call of this run could be seen, so nothing was sparse. This "
                "model's attention, or another patch on it, does not ask ComfyUI's override.",
                run.preset.label,
            )
        if ended is None:
            _warn_of_blocks_never_seen(run, record)
        runs.add(
            LoggedRun(
                report, record, run.preset, run.grid, run.options.dense_blocks, _prompt()
            )
        )
        if on_report is not None:
            on_report(report)
    except Interrupt:
        raise
    except Exception as error:  # the video is done, or has an error of its own to tell of
        log.warning("PSA %s: no report of this run (%s)", run.preset.label, one_line(error))


def _warn_of_blocks_never_seen(run: Run, record: RunRecord) -> None:
    seen = {cell.block for cell in record.cells} - {None}
    named = {block for config in run.config.of_ranges.values() for block in config.blocks}
    never = (run.options.dense_blocks | named) - seen
    if seen and never:
        log.warning(
            "PSA %s: settings of blocks %s had no effect: this run had self-attention over the "
            "video in blocks %s only. See the node's dense_blocks and the preset's blocks.",
            run.preset.label, block_list_text(never), block_list_text(seen),
        )


def _prompt() -> str | None:
    context = get_executing_context()
    return context.prompt_id if context else None


def _model_call_wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
    call = CallOfRun(executor, args, kwargs)
    run = call.run
    if run is None or not run.schedule.steps:
        return executor(*args, **kwargs)
    override = call.override()
    run.compile_ahead(override.step)
    device = args[0].device if args and isinstance(args[0], torch.Tensor) else None
    run.recorder.model_call(override.step, device)
    out = call.made_with(override)
    if override.spoiled():
        # PSA has stepped aside by then: the same call again, dense, loses nothing. An override of
        # its own: this one has counted the blocks.
        run.repeated()
        out = call.made_with(call.override())
    run.recorder.model_call_ended(device)
    look_for_bypass(run, executor.class_obj, override)
    return out


class CallOfRun:
    """One call of the model, as the wrapper around it gets it; `run` is None outside of runs."""

    def __init__(self, executor: Any, args: tuple, kwargs: dict):
        self._executor, self._args, self._kwargs = executor, args, kwargs
        self._place, self.options = _transformer_options(args, kwargs)
        self.run: Run | None = self.options.get(RUN)

    def override(
        self, kind: type[AttentionOverride] = AttentionOverride, **more: Any
    ) -> AttentionOverride:
        """What serves the attention calls of this model call; none of them sparse if it is
        unreadable. `more` goes to `kind`."""
        run, options = self.run, self.options
        grid = step = key = None
        goes_on = False
        try:
            named = _by_name(self._executor.original, self._args, self._kwargs)
            # The noise level is the model's second argument as well.
            sigma = options["sigmas"] if options.get("sigmas") is not None else named["t"]
            # Waits for the GPU: samplers keep their sigmas there, and which step this is decides
            # what is launched next. After a sparse call nothing is left to wait for, see `spoiled`;
            # after a dense one the GPU stands still until the next kernels come (NOTES, "Waits").
            step = run.current.of_call(float(sigma.max()))
            key = _key(options)
            goes_on = run.goes_on(key, sigma, options)
            grid = _token_grid(run, self._executor.class_obj, named)
        except Interrupt:
            raise
        except Exception as error:  # a call like none in the versions of ComfyUI that we know
            run.step_aside(error)
        previous = options.get(OVERRIDE)
        return kind(run, grid, step, key, previous=previous, goes_on=goes_on, **more)

    def made_without(self) -> Any:
        """The model's output without PSA; to what ComfyUI records the call is like any other."""
        return self.made_with(LeftAlone(self.options.get(OVERRIDE)))

    def made_with(self, override: Callable) -> Any:
        """The model's output with its attention calls served by `override`."""
        options = asked_each_time(self.options) if self.run.graphs else self.options
        # `own`: what lies deeper may put its own override over this one, into a dict of its own
        args, kwargs, place = self._args, self._kwargs, self._place
        with traceable(override, options) as own:
            if isinstance(place, int):
                return self._executor(*args[:place], own, *args[place + 1 :], **kwargs)
            return self._executor(*args, **{**kwargs, place: own})


def _by_name(function: Callable, args: tuple, kwargs: dict) -> dict[str, Any]:
    """Arguments of a call by the names they have in this version of ComfyUI."""
    bound = inspect.signature(function).bind(*args, **kwargs).arguments
    rest = bound.pop("kwargs", {})
    return {**bound, **rest}


def _key(options: dict[str, Any]) -> Any:
    if options.get("context_window") is not None:
        return None
    return tuple(options.get("uuids") or ()), tuple(options.get("cond_or_uncond") or ())


def _transformer_options(args: tuple, kwargs: dict) -> tuple[int | str, dict[str, Any]]:
    """(where it is, the dict) of this call's transformer options, whatever their position."""
    for place, value in (*enumerate(args), *kwargs.items()):
        if isinstance(value, dict) and RUN in value:
            return place, value
    return 0, {}


def _token_grid(run: Run, base_model: Any, named: dict[str, Any]) -> TokenGrid | None:
    diffusion_model = base_model.diffusion_model
    # A compiled model is a wrapper around the one that the table of layouts knows.
    diffusion_model = getattr(diffusion_model, "_orig_mod", diffusion_model)
    call = ModelCall(diffusion_model, named["x"], named)
    try:
        grid = token_grid(call)
    except Interrupt:
        raise
    except Exception as error:  # a model whose attributes are not what the table expects
        if run.first_time("layout"):
            log.warning("PSA cannot read this model's token layout (%s); it stays dense",
                        one_line(error))
        return None
    if grid is None and run.first_time("layout"):
        log.warning(
            "PSA does not know the token layout of %s; it stays dense",
            type(call.diffusion_model).__name__,
        )
    if grid is not None and run.grid is None:
        run.grid = grid.grid, grid.before + grid.after
    if grid is not None and run.first_time("family"):
        for line in contradictions(run.preset, grid, base_model.latent_format):
            log.warning("PSA preset %s: %s; the model's own is used", run.preset.label, line)
    return grid
