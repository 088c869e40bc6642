"""PSA on a pipeline's transformers: one run after another, and the report of the last."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..core.deciding import AttentionCalls
from ..core.model_calls import ModelCalls, OnModels
from ..core.preset_value import PresetValue
from ..core.run import Run
from ..core.schedule import Schedule, plan_of
from ..core.token_grid import TokenGrid
from .families import Family
from .processor import PSAProcessor, Serving
from .several_gpus import Ranks, check_shared, ranks_of
from .steps import Steps

log = logging.getLogger("PSA")


class Applied(OnModels):
    """What `apply_psa` returns. A run begins with the scheduler's `set_timesteps`.

    scheduler_now  returns the scheduler, which a pipeline may replace
    """

    def __init__(
        self, preset: PresetValue, scheduler_now: Callable[[], Any], dense_blocks: frozenset[int],
        min_tokens: int, on_progress: Callable[[dict[str, Any]], None] | None, note: str | None,
    ):  # fmt: skip
        super().__init__(preset, note)
        self._scheduler_now = scheduler_now
        self._options = {
            "dense_blocks": dense_blocks, "min_tokens": min_tokens, "on_progress": on_progress,
        }  # fmt: skip
        self.ranks: Ranks | None = None  # of the last call
        self._steps: Steps | None = None
        self._timesteps: Any = None  # the scheduler's own: another tensor is another run
        self._step: int | None = None
        self._calls_of_step: Counter = Counter()

    def report(self) -> dict[str, Any]:
        """As in ComfyUI. If several processes share the model's work, the figures are those of this
        process's heads, and `rank` is (its number, how many there are)."""
        ranks = self.ranks
        return super().report() | ({"rank": (ranks.rank, ranks.of)} if ranks else {})

    def summary(self) -> str:
        ranks = self.ranks
        part = f" (heads of rank {ranks.rank}, one of {ranks.of})" if ranks else ""
        return super().summary() + part

    def put_on(self, model: torch.nn.Module, family: Family) -> None:
        """Wraps a transformer's processors and hooks its calls."""
        self._models.append(_OnModel(self, model, family))

    def take_off(self) -> None:
        """Removes the hooks and logs what the last run did. `remove_psa` restores processors."""
        super().take_off()
        self._timesteps = self._steps = None

    def calls_of(
        self, model: torch.nn.Module, grid: TokenGrid | None, timestep: Any, device: torch.device
    ) -> AttentionCalls:
        """What serves the attention of a call of `model` that is about to begin."""
        scheduler = self._scheduler_now()
        timesteps = getattr(scheduler, "timesteps", None)
        if self._run is None or timesteps is not self._timesteps:
            self._begin(timesteps)
        run, self._finished = self._run, None
        if grid is None and run.first_time("layout"):
            log.warning("PSA %s: this call of %s does not say where its video's tokens are; it "
                        "stays dense", run.preset.label, type(model).__name__)  # fmt: skip
        step = None
        if self._steps is not None:
            step = self._steps.of_call(scheduler, timestep)
        if step != self._step:
            self._calls_of_step.clear()
        self._step = step
        # every step calls its conditions in the same order
        self._calls_of_step[id(model)] += 1
        key = id(model), self._calls_of_step[id(model)]
        if grid is not None and run.grid is None:
            run.grid = grid.grid, grid.before + grid.after
        run.recorder.model_call(step, device)
        return AttentionCalls(run, grid, step, key)

    def call_ended(self, calls: AttentionCalls, device: torch.device | None) -> None:
        run = calls.run
        run.recorder.model_call_ended(device)
        if calls.step is not None and calls.step == len(run.schedule.steps) - 1:
            run.forget(calls.key)

    def _begin(self, timesteps: torch.Tensor | None) -> None:
        self.end()
        self._timesteps, self._step, self._steps = timesteps, None, None
        schedule = Schedule(())
        if timesteps is not None:
            self._steps = Steps(timesteps)
            schedule = plan_of(self._steps.timesteps, self.preset.config)
        self._run = Run(self.preset, schedule, **self._options)
        self._announce(schedule)

    def _announce(self, schedule: Schedule) -> None:
        label, plan = self.preset.label, schedule.describe()
        if not schedule.steps:
            log.warning("PSA %s: %s", label, self.note or NO_SCHEDULER)
        elif self.preset.config.type == "dense" or schedule.sparse_steps:
            log.info("PSA %s: %s", label, plan)
        else:
            log.warning("PSA %s: no step of this run is sparse (%s). Fix: use more steps, or a "
                        "preset for few steps such as lora_4step", label, plan)  # fmt: skip


NO_SCHEDULER = (
    "without a scheduler no step is known, and every call stays dense. Fix: "
    "apply_psa(transformer, preset, scheduler=pipeline.scheduler)"
)


class _OnModel(ModelCalls):
    """One transformer: its processors, and its calls."""

    def __init__(self, applied: Applied, model: torch.nn.Module, family: Family):
        super().__init__(applied, model, Serving())
        self.family = family
        self._device: torch.device | None = None
        self._ranks: Ranks | None = None
        self._wrap()
        self.listen()

    def _wrap(self) -> bool:
        """Whether there were processors to wrap: the library may have set new ones."""
        found = False
        for layer, (block, attention) in enumerate(self.family.attentions(self.model)):
            if not isinstance(attention.processor, PSAProcessor):
                wrapped = PSAProcessor(attention.processor, self.serving, block, layer)
                attention.set_processor(wrapped)
                found = True
        return found

    def check(self) -> None:
        check_shared(self.model)  # nothing is lost: the first call of the run would fail anyway
        self.applied.ranks = self._ranks = ranks_of(self.model)

    def begin(self, call: Mapping[str, Any]) -> AttentionCalls:
        if self._wrap():
            log.info("PSA %s: new attention processors were set; PSA now wraps those",
                     self.applied.preset.label)  # fmt: skip
        self._device = call["hidden_states"].device
        grid = self.family.grid(self.model, call)
        self.serving.split = self._ranks is not None and self._ranks.split
        if self.serving.split and grid is not None and grid.length != math.prod(grid.grid):
            grid = None  # each rank holds part of the text among its part of the video
        self.serving.seen = grid.length if self.family.padded and grid is not None else None
        return self.applied.calls_of(self.model, grid, call["timestep"], self._device)

    def ended(self, calls: AttentionCalls) -> None:
        self.applied.call_ended(calls, self._device)

    def spoiled(self, calls: AttentionCalls | None) -> bool:
        """As in `ModelCalls`, but ranks can repeat a call only together.

        An error on one of them makes all step aside.
        """
        spoiled = super().spoiled(calls)
        if self._ranks is None:
            return spoiled
        failed = calls is None or calls.run.failure is not None
        worst = self._ranks.agreed(2 if spoiled else int(failed), self._device)
        if worst and not failed:
            what = "NaN or Inf in its heads" if worst == 2 else "see its log"
            calls.run.step_aside(RuntimeError(f"PSA stepped aside on another GPU: {what}"))
        return worst == 2
