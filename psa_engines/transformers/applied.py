"""PSA on a model's language layers: its prompts, one after the other, and their reports."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import torch

from ..core.deciding import AttentionCalls
from ..core.last_run import LastRun
from ..core.preset_value import PresetValue
from ..core.run import Run
from ..core.schedule import DENSE_PRESET, Schedule, Step
from ..core.token_grid import TokenGrid
from ..core.uncompiled import uncompiled
from .attention import NAME, Serving, serve
from .prompt import NO_VIDEO, Call, cache_of, cached, video_of

log = logging.getLogger("PSA")

DECODE, CHUNK = "decode step", "chunked prefill"


class Applied(LastRun):
    """What `apply_psa` gives. A run begins with each prompt, and lasts until the next one."""

    def __init__(
        self, preset: PresetValue, dense_blocks: frozenset[int], min_tokens: int,
        on_progress: Callable[[dict[str, Any]], None] | None, note: str | None,
    ):  # fmt: skip
        super().__init__(preset, note)
        self._options = {
            "dense_blocks": dense_blocks, "min_tokens": min_tokens, "on_progress": on_progress,
            # a prefill has no steps: neither warm-up nor ranges of them mean anything
            "config": preset.config.in_range(None),
        }  # fmt: skip
        self._models: list[_OnModel] = []
        self._video = False

    def __deepcopy__(self, memo: dict) -> Applied:
        return self  # a copy of a model takes no part in its runs

    def put_on(self, model: torch.nn.Module) -> None:
        """Serves the language layers of a model, and listens to its calls."""
        self._models.append(_OnModel(self, model))

    def take_off(self) -> None:
        """Gives the models their own attention back, and says what the last run did."""
        for on_model in self._models:
            on_model.take_off()
        self._models.clear()
        self._end()

    def begin_call(self, model: torch.nn.Module, call: Call, serving: Serving) -> None:
        """A call of `model` begins: a prompt, or what comes after one."""
        new = call.get("input_ids")
        new = call["inputs_embeds"] if new is None else new
        if cached(call):
            if self._run is None:  # PSA came in the middle
                self._begin()
            dense = DECODE if new.shape[1] == 1 else CHUNK
            video, step, grid = dense == CHUNK and self._video, None, None
        else:
            self._begin()
            found = video_of(model, call)
            grid, dense = (found, None) if isinstance(found, TokenGrid) else (None, found)
            video, step = found != NO_VIDEO, 0
            self._video = video
            if grid is not None:
                self._run.grid = grid.grid, grid.before + grid.after
        self._finished = None
        device = new.device if video else None
        self._run.recorder.model_call(step, device)
        serving.begin(AttentionCalls(self._run, grid, step, None), dense, video)

    def _begin(self) -> None:
        self._end()
        schedule = Schedule((Step(0.0, None),))
        if self.preset.config.type == "dense":
            schedule = schedule.all_dense(DENSE_PRESET)
        self._run = Run(self.preset, schedule, **self._options)


class _OnModel:
    """One model: what its language layers ask, and the hooks around its calls."""

    def __init__(self, applied: Applied, model: torch.nn.Module):
        self.applied, self.model, self.serving = applied, model, Serving()
        self._signature = inspect.signature(type(model).forward)
        self._language = model.language_model
        self._former = self._language.config._attn_implementation
        if self._former not in ("sdpa", NAME):
            log.info("PSA %s: %s is the attention of calls that stay dense, in place of %s",
                     applied.preset.label, "sdpa", self._former)  # fmt: skip
        self._language.set_attn_implementation(NAME)
        serve(self._language, self.serving)
        self._hooks = [
            model.register_forward_pre_hook(self.before, with_kwargs=True),
            model.register_forward_hook(self.after, with_kwargs=True, always_call=True),
        ]

    def __deepcopy__(self, memo: dict) -> _OnModel:
        return self

    def take_off(self) -> None:
        for hook in self._hooks:
            hook.remove()
        serve(self._language, None)
        self._language.set_attn_implementation(self._former)

    def _look_for_others(self) -> None:
        now = self._language.config._attn_implementation
        if now != NAME and self.applied.note is None:
            self.applied.note = (
                f"the language model's attention was set to {now} after apply_psa, and PSA serves "
                "nothing. Fix: call apply_psa again"
            )
            log.warning("PSA %s: %s", self.applied.preset.label, self.applied.note)

    def _read(self, args: tuple, kwargs: dict) -> Call:
        """What the model is called with, also what it passes on without knowing it."""
        return self._signature.bind(self.model, *args, **kwargs).arguments | kwargs

    @uncompiled
    def before(self, model: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if model is not self.model:  # a copy
            return
        self.serving.end()
        try:
            self.applied.begin_call(model, self._read(args, kwargs), self.serving)
            self._look_for_others()
        except Exception as error:
            self.serving.end()
            self.applied.could_not_read(model, error)

    @uncompiled
    def after(self, model: torch.nn.Module, args: tuple, kwargs: dict, out: Any) -> Any:
        """The model's output; made again without PSA where that gave NaN or Inf."""
        calls = self.serving.calls
        if calls is None or model is not self.model:
            return None
        try:
            if out is not None and calls.spoiled():
                # PSA has stepped aside by then: the same prompt again, dense, loses nothing
                calls.run.repeated()
                self.serving.begin(
                    AttentionCalls(calls.run, calls.token_grid, calls.step, calls.key), None, True
                )
                cache = cache_of(self._read(args, kwargs))
                if cache is not None:
                    cache.reset()  # of what the first try has put into it
                return model.forward(*args, **kwargs)
            return None
        finally:
            if self.serving.video:
                calls.run.recorder.model_call_ended(_device(model))
            self.serving.end()


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device
