"""PSA on a model's language layers: one prompt after another, and the report of the last."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from ..core.deciding import AttentionCalls
from ..core.model_calls import ModelCalls, OnModels
from ..core.preset_value import PresetValue
from ..core.run import Run
from ..core.schedule import DENSE_PRESET, Schedule, Step
from ..core.token_grid import TokenGrid
from .attention import NAME, Serving, serve
from .prompt import NO_VIDEO, Call, cache_of, cached, empty, new_tokens, video_of

log = logging.getLogger("PSA")

DECODE, CHUNK = "decode step", "chunked prefill"


class Applied(OnModels):
    """What `apply_psa` returns. Each prompt begins a run, which lasts until the next prompt."""

    def __init__(
        self, preset: PresetValue, dense_blocks: frozenset[int], min_tokens: int,
        on_progress: Callable[[dict[str, Any]], None] | None, note: str | None,
    ):  # fmt: skip
        super().__init__(preset, note)
        self._options = {
            "dense_blocks": dense_blocks, "min_tokens": min_tokens, "on_progress": on_progress,
            # a prefill has no steps: warm-up and ranges of steps have no meaning
            "config": preset.config.in_range(None),
        }  # fmt: skip
        self._video = False

    def put_on(self, model: torch.nn.Module) -> None:
        """Serves a model's language layers and hooks its calls."""
        self._models.append(_OnModel(self, model))

    def calls_of(self, model: torch.nn.Module, call: Call, serving: Serving) -> AttentionCalls:
        """What serves the attention of a call of `model` that is about to begin: a prompt, or what
        follows one."""
        new = new_tokens(call)
        if cached(call):
            if self._run is None:  # PSA was applied after the prompt
                self._begin()
            serving.dense = DECODE if new.shape[1] == 1 else CHUNK
            serving.video = serving.dense == CHUNK and self._video
            step, grid = None, None
        else:
            self._begin()
            found = video_of(model, call)
            grid, serving.dense = (found, None) if isinstance(found, TokenGrid) else (None, found)
            serving.video = self._video = found != NO_VIDEO
            step = 0
            if grid is not None:
                self._run.grid = grid.grid, grid.before + grid.after
        self._finished = None
        self._run.recorder.model_call(step, new.device if serving.video else None)
        return AttentionCalls(self._run, grid, step, None)

    def _begin(self) -> None:
        self.end()
        schedule = Schedule((Step(0.0, None),))
        if self.preset.config.type == "dense":
            schedule = schedule.all_dense(DENSE_PRESET)
        self._run = Run(self.preset, schedule, **self._options)


class _OnModel(ModelCalls):
    """One model: the attention of its language layers, and its calls."""

    def __init__(self, applied: Applied, model: torch.nn.Module):
        super().__init__(applied, model, Serving())
        self._device: torch.device | None = None
        self._language = model.language_model
        self._former = self._language.config._attn_implementation
        if self._former not in ("sdpa", NAME):
            log.info("PSA %s: calls that stay dense use %s attention, in place of %s",
                     applied.preset.label, "sdpa", self._former)  # fmt: skip
        self._language.set_attn_implementation(NAME)
        serve(self._language, self.serving)
        self.listen()

    def take_off(self) -> None:
        super().take_off()
        serve(self._language, None)
        self._language.set_attn_implementation(self._former)

    def begin(self, call: Call) -> AttentionCalls:
        self._device = new_tokens(call).device
        self._look_for_others()
        return self.applied.calls_of(self.model, call, self.serving)

    def _look_for_others(self) -> None:
        now = self._language.config._attn_implementation
        if now != NAME and self.applied.note is None:
            self.applied.note = (
                f"the language model's attention was set to {now} after apply_psa, and every call "
                "is dense. Fix: call apply_psa again"
            )
            log.warning("PSA %s: %s", self.applied.preset.label, self.applied.note)

    def before_again(self, call: Call) -> None:
        empty(cache_of(call))

    def ended(self, calls: AttentionCalls) -> None:
        if self.serving.video:
            calls.run.recorder.model_call_ended(self._device)
