"""One sampler run of ComfyUI's: what the core knows of it, and what only ComfyUI has."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ...psa_engines.core import run as core
from ...psa_engines.core.preset_value import PresetValue
from ...psa_engines.core.recording.records import RunRecord
from ...psa_engines.core.schedule import Schedule
from .compiling import CompileAhead
from .dense_kernel import DenseKernel, dense_kernel
from .faults import COMFYUI
from .planning import in_window

log = logging.getLogger("PSA")


@dataclass(frozen=True)
class PatchOptions:
    """What the Apply PSA node adds to a preset.

    window        (start, end) percent of the full schedule that replaces the preset's warm-up and
                  dense ranges of steps
    dense_blocks  transformer blocks that stay dense
    min_tokens    calls with fewer video tokens than this stay dense
    """

    window: tuple[float, float] | None = None
    dense_blocks: frozenset[int] = frozenset()
    min_tokens: int = 0


class Run(core.Run):
    def __init__(
        self,
        preset: PresetValue,
        options: PatchOptions,
        schedule: Schedule,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        raised: float = 1.0,
    ):
        super().__init__(
            preset, schedule, config=in_window(preset.config, options.window),
            dense_blocks=options.dense_blocks, min_tokens=options.min_tokens,
            on_progress=on_progress, raised=raised, host=COMFYUI,
        )  # fmt: skip
        self.options = options
        self.ahead = CompileAhead(options.min_tokens, options.dense_blocks)
        self._video_called = False
        # the plan, said when the video's first self-attention comes: until then it is a promise
        self.promise: str | None = None
        # whose code keeps attention calls from PSA
        self.bypassed: str | None = None
        self.dense_kernel: DenseKernel | None = None
        # whether blocks of the model were recorded as CUDA graphs
        self.graphs = False

    def __deepcopy__(self, memo: dict) -> Run:
        # Model options may be copied while a run lasts; there is still only one run.
        return self

    def goes_on(self, key: Any, evaluation: torch.Tensor, options: dict[str, Any]) -> bool:
        """As in the core, but never where another node replaces blocks, as skip-layer guidance
        does: calls are not numbered by their layers there."""
        new = super().goes_on(key, evaluation)
        return new and not (options.get("patches_replace") or {}).get("dit")

    def compile_ahead(self, step: int | None) -> None:
        """Before a call of the model: compiles what it will need, where that is known by now."""
        if step is None or self.failure or self.schedule.steps[step].dense:
            return
        steps = zip(self.schedule.steps, self.of_steps, strict=True)
        sparse = [config for planned, config in steps if planned.dense is None]
        self.ahead.compile(sparse, partial(self._compiling, step))

    def _compiling(self, step: int, text: str) -> None:
        if self.first_time("compiling"):
            log.info("PSA %s: compiling kernels, once", self.preset.label)
        self.live.say(step, text)

    def video_call(self, func: Callable, previous: Callable | None) -> None:
        """A call of self-attention over the video has come to PSA; dense ones run `func`, or
        `previous` where another override was there."""
        if self._video_called:
            return
        self._video_called = True
        self.dense_kernel = dense_kernel(func, previous)
        if self.bypassed:
            self.bypassed = None
            log.info(
                "PSA %s: attention calls come now; the warning above no longer applies",
                self.preset.label,
            )
        if self.promise:
            log.info(
                "PSA %s: %s. Dense calls run %s",
                self.preset.label,
                self.promise,
                self.dense_kernel.name,
            )
            if self.dense_kernel.cheaper and any(step.dense for step in self.schedule.steps):
                log.info(
                    "PSA %s: the dense steps are cheaper with %s",
                    self.preset.label,
                    self.dense_kernel.cheaper,
                )

    def met_cuda_graph(self) -> None:
        """An attention call has become part of a CUDA graph."""
        self.graphs = True
        if self.first_time("graph"):
            log.warning(
                "PSA %s: ComfyUI records blocks of this model as CUDA graphs, whose replays do not "
                "ask PSA. This model call stays dense there; later ones of this run are made "
                "without such graphs. Fix: start ComfyUI with --disable-cuda-graphs",
                self.preset.label,
            )  # fmt: skip

    def finish(self, ended: str | None) -> tuple[dict[str, Any], RunRecord]:
        report, record = super().finish(ended)
        own = {
            "bypassed": self.bypassed,
            "dense_kernel": self.dense_kernel and self.dense_kernel.name,
            "cheaper_kernel": self.dense_kernel and self.dense_kernel.cheaper,
        }
        return report | own, record
