"""Around one sampler run: PSA's plan before it, the summary after."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from comfy_execution.utils import get_executing_context

from ...psa_engines.core.faults import one_line, traceback_text
from ...psa_engines.core.preset_value import PresetValue
from ...psa_engines.core.recording.records import RunRecord
from ...psa_engines.core.schedule import DENSE_PRESET, Schedule
from ...psa_engines.core.summary import summary_line
from ...psa_kernels.config import block_list_text
from ..recording.run_log import LoggedRun, RunLog
from .announcing import announce
from .faults import Interrupt, let_go
from .option_names import RUN
from .planning import plan_run
from .run import PatchOptions, Run
from .sampler_steps import known_churn, with_listener

log = logging.getLogger("PSA")


def run_wrapper(
    preset: PresetValue,
    options: PatchOptions,
    runs: RunLog,
    on_report: Callable[[dict[str, Any]], None] | None,
    on_progress: Callable[[dict[str, Any]], None] | None,
) -> Callable:
    """The wrapper; `runs` gets each run, for the others see `apply_psa`."""

    def sample(executor: Any, *args: Any, **kwargs: Any) -> Any:
        guider = executor.class_obj
        try:
            run = run_of(guider, args, kwargs, preset, options, on_progress)
            announce(run, _prompt())
            # the guider's options are this run's own copy; its model calls see them
            at_hand = guider.model_options.setdefault("transformer_options", {})
        except Interrupt:
            raise
        except Exception as error:  # a guider or noise schedule like none in ComfyUI
            _unplanned(error, runs)
            return executor(*args, **kwargs)
        outer, at_hand[RUN] = at_hand.get(RUN), run
        ended = None
        try:
            args, kwargs = listening(run, executor, args, kwargs)
            return executor(*args, **kwargs)
        except BaseException as error:
            ended = "interrupted" if isinstance(error, Interrupt) else one_line(error)
            raise
        finally:
            at_hand[RUN] = outer
            _report(run, ended, runs, on_report)
            run.end()

    return sample


def _unplanned(error: Exception, runs: RunLog) -> None:
    log.error(
        "PSA cannot plan this run and leaves it dense: %s\n%s",
        one_line(error),
        traceback_text(error),
    )
    let_go(error)
    try:
        note = f"PSA could not plan this run: {one_line(error)}"
        runs.add(LoggedRun(prompt=_prompt(), note=note))
    except Exception as failed:
        log.warning("PSA keeps no record of this run (%s)", one_line(failed))


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
        log.info(
            "PSA %s: steps are found by their sigmas alone (%s)", run.preset.label, one_line(error)
        )
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
        if ended is None:
            _warn_of_no_effect(run, report, record)
        blocks = run.options.dense_blocks
        runs.add(LoggedRun(report, record, run.preset, run.grid, blocks, _prompt()))
        if on_report is not None:
            on_report(report)
    except Interrupt:
        raise
    except Exception as error:  # the video is done, or has an error of its own
        log.warning("PSA %s: no report of this run (%s)", run.preset.label, one_line(error))


def _warn_of_no_effect(run: Run, report: dict[str, Any], record: RunRecord) -> None:
    calls = report["calls"]
    if run.schedule.steps and not (calls["sparse"] or calls["dense"] or run.bypassed):
        log.warning(
            "PSA %s: PSA saw no attention call in this run, so nothing was sparse. This model's "
            "attention, or another patch on it, does not use ComfyUI's override.",
            run.preset.label,
        )
    seen = {cell.block for cell in record.cells} - {None}
    named = {block for config in run.config.of_ranges.values() for block in config.blocks}
    never = (run.options.dense_blocks | named) - seen
    if seen and never:
        log.warning(
            "PSA %s: settings of blocks %s had no effect: only blocks %s had self-attention over "
            "the video. See the node's dense_blocks and the preset's blocks.",
            run.preset.label,
            block_list_text(never),
            block_list_text(seen),
        )


def _prompt() -> str | None:
    context = get_executing_context()
    return context.prompt_id if context else None
