"""One sampler run: everything PSA knows while it lasts. Dropped when the run ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from ...psa_engines.core.current_step import CurrentStep
from ...psa_engines.core.recording.live import LiveText
from ...psa_engines.core.recording.recorder import Recorder
from ...psa_engines.core.recording.records import RunRecord
from ...psa_engines.core.schedule import Schedule
from ...psa_engines.core.summary import figures
from ...psa_kernels import OrderState, PSAConfig, release_orders
from ..preset_value import PresetValue
from .compiling import CompileAhead
from .dense_kernel import DenseKernel, dense_kernel
from .faults import let_go, one_line, told
from .planning import in_window

log = logging.getLogger("PSA")

# shares of a device's memory that a run may keep from step to step (section 3b). Of Wan 14B at
# 720p groups take 121 MB for each condition, plans ten times as much: what finds no room is made
# anew in each step.
MOST_KEPT = {"groups": 1 / 64, "plan": 1 / 64}


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


@dataclass
class Run:
    preset: PresetValue
    options: PatchOptions
    schedule: Schedule
    on_progress: Callable[[dict[str, Any]], None] | None = None
    raised: float = 1.0  # see `CurrentStep`
    # the preset's settings as this run has them, and those of each step
    config: PSAConfig = field(init=False)
    of_steps: tuple[PSAConfig, ...] = field(init=False)
    recorder: Recorder = field(init=False)
    live: LiveText = field(init=False)
    current: CurrentStep = field(init=False)
    ahead: CompileAhead = field(init=False)
    failure: str | None = None
    # of the video's tokens, (frames, height, width), and how many others are beside them
    grid: tuple[tuple[int, int, int], int] | None = None
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.config = in_window(self.preset.config, self.options.window)
        self.of_steps = tuple(self.config.for_step(step.place) for step in self.schedule.steps)
        self.recorder = Recorder(len(self.schedule.steps))
        self.current = CurrentStep(self.schedule, self.raised)
        self.ahead = CompileAhead(self.options.min_tokens, self.options.dense_blocks)
        plan = [step.dense for step in self.schedule.steps]
        self.live = LiveText(self.recorder, plan, self.on_progress)
        self._lock = threading.Lock()
        self._order_states: dict[Any, OrderState] = {}
        self._kept = dict.fromkeys(MOST_KEPT, 0)
        self._sigma_of_last: dict[Any, torch.Tensor] = {}
        self._said: set[str] = set()
        self._repeated = 0
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

    def order_state(self, key: Any, device: torch.device) -> OrderState:
        """What one attention call carries from step to step: see `OrderState`."""
        with self._lock:
            if key not in self._order_states:
                self._order_states[key] = OrderState(partial(self._room, _memory(device)))
            return self._order_states[key]

    def goes_on(self, key: Any, sigma: torch.Tensor, options: dict[str, Any]) -> bool:
        """Whether a model call takes up the last one of its conditions.

        Of two with one and the same `sigma`, which the sampler made for one evaluation, the second
        has other tokens: tiles of a latent, say. Where another node replaces blocks, as skip-layer
        guidance does, calls are not numbered by their layers.
        """
        with self._lock:
            last, self._sigma_of_last[key] = self._sigma_of_last.get(key), sigma
        return last is not sigma and not (options.get("patches_replace") or {}).get("dit")

    def _room(self, memory: int, name: str, size: int) -> bool:
        """Whether `size` bytes more of `name` may stay on a device of `memory` bytes."""
        with self._lock:
            kept = self._kept[name] + size
            if kept > MOST_KEPT[name] * memory:
                return False
            self._kept[name] = kept
            return True

    def step_aside(self, error: Exception) -> None:
        """The rest of the run is dense. Said once; what the error holds in memory is given back."""
        text = one_line(error)
        self.failure = self.failure or text
        if self.first_time("failure"):
            log.error(
                "PSA met an error and steps aside: the rest of this run uses the model's own "
                "attention, the render goes on. %s\n%s\n"
                "PSA Self-test, a node, says whether something is missing here.", text, told(error),
            )  # fmt: skip
        self.end()
        let_go(error)

    def end(self) -> None:
        """Drops the tensors that lead from step to step, and those that serve any run.

        A run beside this one copies its token order to the GPU again.
        """
        with self._lock:
            self._order_states.clear()
            self._sigma_of_last.clear()
            self._kept = dict.fromkeys(MOST_KEPT, 0)
        release_orders()

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

    def first_time(self, what: str) -> bool:
        """True once per run for each `what`: to say a thing once."""
        with self._lock:
            new = what not in self._said
            self._said.add(what)
            return new

    def video_call(self, func: Callable, previous: Callable | None) -> None:
        """A call of self-attention over the video has come to PSA; dense ones run `func`, or
        `previous` where another override was there."""
        if self._video_called:
            return
        self._video_called = True
        self.dense_kernel = dense_kernel(func, previous)
        if self.bypassed:
            self.bypassed = None
            log.info("PSA %s: attention calls come now; the warning above no longer applies",
                     self.preset.label)
        if self.promise:
            log.info("PSA %s: %s. Dense calls run %s",
                     self.preset.label, self.promise, self.dense_kernel.name)
            if self.dense_kernel.cheaper and any(step.dense for step in self.schedule.steps):
                log.info("PSA %s: the dense steps are cheaper with %s",
                         self.preset.label, self.dense_kernel.cheaper)

    def met_cuda_graph(self) -> None:
        """An attention call has become part of a CUDA graph."""
        self.graphs = True
        if self.first_time("graph"):
            log.warning(
                "PSA %s: ComfyUI records blocks of this model as CUDA graphs, whose replays do not "
                "ask PSA. This model call stays dense there; the next ones of this run are made "
                "without such graphs. Fix: start ComfyUI with --disable-cuda-graphs",
                self.preset.label,
            )  # fmt: skip

    def repeated(self) -> None:
        """A call of the model is made again: its sparse calls are counted, and thrown away."""
        with self._lock:
            self._repeated += 1
        log.warning(
            "PSA %s: the model was called once more in this step, dense. What counts the model's "
            "calls by itself, as caches of other packs do, is one ahead from here on.",
            self.preset.label,
        )  # fmt: skip

    def finish(self, ended: str | None) -> tuple[dict[str, Any], RunRecord]:
        """What ran, in plain types, and the record that tells it in full. Waits for the GPU.

        The first is the source of the log line, the event and the demo's report. ended: what
        ended the run before its last step, None where it went through.
        """
        seconds = time.monotonic() - self.started
        record = self.recorder.finish()
        report = {
            "preset": self.preset.label,
            "plan": ["dense" if step.dense else "sparse" for step in self.schedule.steps],
            "plan_text": self.schedule.describe(),
            "failure": self.failure,
            "repeated": self._repeated,
            "bypassed": self.bypassed,
            "dense_kernel": self.dense_kernel and self.dense_kernel.name,
            "cheaper_kernel": self.dense_kernel and self.dense_kernel.cheaper,
            "ended": ended,
            "seconds": round(seconds, 3),
            **figures(record, self.schedule.steps),
        }
        return report, record


def _memory(device: torch.device) -> int:
    """Bytes that a device has in all; of a CPU's a fair guess."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return 2**35
