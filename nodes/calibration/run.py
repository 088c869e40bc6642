"""Measuring on a dense run: the model samples as without PSA, and some steps are measured.

At a measured step, every block's attention call is also computed with each rung of the ladder, with
like keys together, and once in token order. If token order is as good, the clip is sampled again
for a ladder in token order. At a probed step, the whole model is called again for each block, with
that block sparse. Only a few numbers per call are kept, in a journal from which an interrupted
calibration continues. A sampling ends after the last step that is measured.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import comfy.model_management
import torch

from ..patching.apply import with_wrappers
from ..patching.around_call import WrappedCall
from ..patching.around_run import listening, run_of
from ..patching.option_names import RUN
from ..patching.override import AttentionOverride
from ..patching.planning import nothing_sparse
from ..patching.run import PatchOptions, Run
from ..preset_value import PresetValue
from .errors import CalibrationError
from .findings import Findings
from .grouping import SIMILAR, compare
from .journal import Journal
from .ladder import Rung, ladder
from .measure import POSITIVE, MeasuringOverride, ProbingOverride
from .predict import Measurements
from .sampled_steps import measured_steps, spaced
from .summary import choice

log = logging.getLogger("PSA")


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    steps   sparse steps to measure; at least one in each range of the preset
    probes  how many of these also probe each block with a call of the model
    """

    steps: int = 4
    probes: int = 1


class _Done(Exception):  # noqa: N818 - all is measured: ends the sampling
    pass


def measure(
    model: Any,
    preset: PresetValue,
    effort: Effort,
    sample: Callable[[Any], Any],
    journal: Journal,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measurements:
    """The error of every rung of `preset` in every block of `model` (a `ModelPatcher`).

    sample       samples the clip with the patched model that it is given
    on_progress  gets (units of work done, total units)
    Raises `CalibrationError` if there is nothing to measure; it says why.
    """
    measuring = _Measuring(preset, effort, journal, on_progress)
    while not measuring.findings.complete:
        measuring.began_anew = False
        with contextlib.suppress(_Done):
            sample(measuring.patched(model))
        if not measuring.began_anew:
            break
    if not measuring.findings.complete:
        raise CalibrationError(measuring.why_nothing())
    return measuring.findings.measurements()


class _Measuring:
    def __init__(
        self,
        preset: PresetValue,
        effort: Effort,
        journal: Journal,
        on_progress: Callable[[int, int], None],
    ):
        self.preset, self.effort, self.journal = preset, effort, journal
        self.findings = Findings(journal, preset.config)
        self.on_progress = on_progress
        self.run: Run | None = None
        self.steps: list[int] = []
        self.stands: dict[int, float] = {}  # step -> how many sparse steps it stands for
        self.rungs: tuple[Rung, ...] = ()
        self.began_anew = False  # during a sampling, which may have passed some of the steps
        self.blocks = self.reached = self.looked = 0

    def why_nothing(self) -> str:
        run = self.run
        if run is None:
            return "nothing was sampled, so nothing could be measured"
        if run.failure:
            return f"PSA met an error while it measured: {run.failure}"
        if self.preset.config.type == "dense":
            return "the preset is dense. Fix: give one of type psa"
        warning = nothing_sparse(run.schedule, percent=False)
        if warning is not None:
            return f"steps: {warning}"
        report, _ = run.finish(None)
        reasons = Counter(report["calls"]["dense"])
        reasons.pop("cross-attention", None)
        if not reasons:
            return (
                "PSA saw no self-attention over video tokens: this model's attention, or a patch "
                "on it, does not ask ComfyUI's override, or the latent does not fit this model"
            )
        said = ", ".join(f"{reason} ({count} calls)" for reason, count in reasons.most_common())
        return f"no attention call could be measured: {said}"

    # --- measuring

    def patched(self, model: Any) -> Any:
        """A clone that measures while it samples; PSA itself is taken off it."""
        return with_wrappers(model, self._sample, self._model_call)

    def _sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        guider = executor.class_obj
        config = self.preset.config
        self.run = run_of(guider, args, kwargs, self.preset, PatchOptions())
        schedule = self.run.schedule
        sparse = [i for i, step in enumerate(schedule.steps) if step.dense is None]
        if not sparse or config.type == "dense":
            raise CalibrationError(self.why_nothing())
        self.stands = measured_steps(
            {i: schedule.steps[i].range for i in sparse}, self.effort.steps
        )
        self.steps = sorted(self.stands)
        self.rungs, self.reached = (), 0
        self.looked = sum(len(line["calls"]) for line in self.findings.lines("step"))
        self.blocks = len(getattr(guider.model_patcher.model.diffusion_model, "blocks", ())) or 40
        options = guider.model_options.setdefault("transformer_options", {})
        outer = options.get(RUN)
        options[RUN] = self.run
        args, kwargs = listening(self.run, executor, args, kwargs)
        try:
            return executor(*args, **kwargs)
        finally:
            options[RUN] = outer
            self.run.end()

    def _model_call(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        call = WrappedCall(executor, args, kwargs)
        if self.run is None or call.run is not self.run:
            return executor(*args, **kwargs)
        conditions = list(call.options.get("cond_or_uncond") or ())
        looking = call.override(
            MeasuringOverride, rungs=self._rungs, conditions=conditions, looked=self._looked,
            in_order=self.findings.in_order,
        )  # fmt: skip
        step = looking.step
        self.reached = max(self.reached, step or 0)
        looked_at = step in self.steps and (POSITIVE in conditions or not conditions)
        if not looked_at or self._step_complete(step):
            if self.run.failure:
                raise CalibrationError(self.why_nothing())
            self._progress()
            self._end_when_measured()  # an interrupted calibration may have been complete
            return call.made_without()
        out = self._made(call, looking)
        calls = looking.results()
        if not calls:
            raise CalibrationError(self.why_nothing())
        if self.findings.calls(step) is None:
            self.journal.add(
                "step", step=step, grouping=self.findings.config.grouping,
                stands=self.stands[step], calls=[asdict(one) for one in calls],
            )  # fmt: skip
        self.blocks = len({one.block for one in calls})
        if step in self._probed_steps():
            self._probe(call, step, out, conditions)
        self._end_when_measured()
        return out

    def _end_when_measured(self) -> None:
        """Ends the sampling if all is measured, or all but a ladder in token order."""
        if not all(self._step_complete(step) for step in self.steps):
            return
        if self.findings.undecided:
            scales = self.journal.of("ladder")[0]["scales"]
            calls = [call for step in self.steps for call in self.findings.calls(step)]
            compared = compare(calls, scales)
            self.journal.add("grouping", **asdict(compared))
            log.info("PSA Calibrate %s: %s", self.preset.label, choice(compared))
            if compared.chosen != SIMILAR:
                log.info("PSA Calibrate %s: measuring once more, in token order", self.preset.label)
                self.began_anew = True
                raise _Done
        self.journal.add("complete")
        raise _Done

    def _made(self, call: WrappedCall, override: AttentionOverride) -> torch.Tensor:
        out = call.made_with(override)
        if self.run.failure:
            raise CalibrationError(self.why_nothing())
        comfy.model_management.throw_exception_if_processing_interrupted()
        return out

    def _probe(
        self, call: WrappedCall, step: int, out: torch.Tensor, conditions: list[int]
    ) -> None:
        """Probes the base's own rung in one block at a time: its error in the model's output."""
        rung = next(i for i, rung in enumerate(self.rungs) if rung.scale == 1)
        known = self.findings.probed(step)
        for block in sorted({one.block for one in self.findings.calls(step)} - known):
            config = self.rungs[rung].config
            override = call.override(ProbingOverride, probed=block, config=config)
            found = _positive(self._made(call, override), conditions).float()
            wanted = _positive(out, conditions).float()
            error = float((found - wanted).square().sum() / wanted.square().sum())
            self.journal.add(
                "probe", step=step, grouping=config.grouping, block=block, rung=rung, error=error
            )
            self._progress()

    def _rungs(self, tokens: int) -> tuple[Rung, ...]:
        if not self.rungs:
            config = self.findings.config
            self.rungs = ladder(config, -(-tokens // config.block_n))
            scales = [rung.scale for rung in self.rungs]
            stored = [line["scales"] for line in self.journal.of("ladder")]
            if stored != [scales]:
                if self.journal.lines:  # figures of another ladder
                    self.journal.clear()
                    self.began_anew = True
                self.journal.add("ladder", scales=scales)
        return self.rungs

    def _probed_steps(self) -> list[int]:
        # near the start, where an error has the largest effect
        count = min(self.effort.probes, len(self.steps))
        return spaced(self.steps, count) if count != 1 else [self.steps[len(self.steps) // 3]]

    def _step_complete(self, step: int) -> bool:
        calls = self.findings.calls(step)
        if calls is None:
            return False
        blocks = {one.block for one in calls}
        return step not in self._probed_steps() or blocks <= self.findings.probed(step)

    def _progress(self) -> None:
        """Reports the steps passed, calls measured and probes made, of the expected total."""
        looks = len(self.steps) + len(self._probed_steps())
        done = self.reached + self.looked + len(self.findings.lines("probe"))
        total = (self.steps[-1] if self.steps else 0) + looks * self.blocks
        compared = self.findings.compared
        again = total if compared is not None and compared.chosen != SIMILAR else 0
        self.on_progress(again + min(done, total), again + total)

    def _looked(self) -> None:
        self.looked += 1
        self._progress()


def _positive(out: torch.Tensor, conditions: list[int]) -> torch.Tensor:
    """The part of a model's output that belongs to the positive condition."""
    count = len(conditions)
    if count < 2 or out.shape[0] % count or POSITIVE not in conditions:
        return out
    return out.chunk(count)[conditions.index(POSITIVE)]
