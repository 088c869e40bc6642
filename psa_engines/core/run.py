"""One run of a sampler: everything PSA knows while it lasts. Dropped when the run ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ..ground import OrderState, PSAConfig, release_orders
from .current_step import CurrentStep
from .faults import one_line, traceback_text
from .host import Host
from .preset_value import PresetValue
from .recording.live import LiveText
from .recording.recorder import Recorder
from .recording.records import RunRecord
from .schedule import Schedule
from .summary import figures

log = logging.getLogger("PSA")

# shares of a device's memory that a run may keep from step to step (section 3b). For Wan 14B at
# 720p, groups take 121 MB for each condition and plans ten times as much; what finds no room is
# made anew in each step.
MOST_KEPT = {"groups": 1 / 64, "plan": 1 / 64}


class Run:
    """preset        that it runs with
    config        the preset's settings as this run has them, where they differ
    schedule      its steps, each planned dense or not
    dense_blocks  transformer blocks that stay dense
    min_tokens    calls with fewer video tokens than this stay dense
    on_progress   gets what is going on, see `LiveText`
    raised        see `CurrentStep`

    failure       why PSA stepped aside, None while it has not
    of_steps      the settings of each step
    grid          of the video's tokens, (frames, height, width), and how many others are beside
                  them; the host notes it here
    """

    def __init__(
        self,
        preset: PresetValue,
        schedule: Schedule,
        *,
        config: PSAConfig | None = None,
        dense_blocks: frozenset[int] = frozenset(),
        min_tokens: int = 0,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        raised: float = 1.0,
        host: Host | None = None,
    ):
        self.preset, self.schedule = preset, schedule
        self.config = preset.config if config is None else config
        self.dense_blocks, self.min_tokens = dense_blocks, min_tokens
        self.host = host or Host()
        self.of_steps = tuple(self.config.for_step(step.place) for step in schedule.steps)
        self.recorder = Recorder(len(schedule.steps))
        self.current = CurrentStep(schedule, raised)
        self.live = LiveText(self.recorder, [step.dense for step in schedule.steps], on_progress)
        self.failure: str | None = None
        self.grid: tuple[tuple[int, int, int], int] | None = None
        self.started = time.monotonic()
        self._lock = threading.Lock()
        self._order_states: dict[Any, OrderState] = {}
        self._kept = dict.fromkeys(MOST_KEPT, 0)
        self._evaluation_of_last: dict[Any, Any] = {}
        self._said: set[str] = set()
        self._repeated = 0

    def order_state(self, key: Any, device: torch.device) -> OrderState:
        """What one attention call carries from step to step: see `OrderState`."""
        with self._lock:
            state = self._order_states.get(key)
            if state is None:
                state = self._order_states[key] = OrderState(partial(self._room, _memory(device)))
            return state

    def forget(self, key: Any) -> None:
        """Drops what calls with the conditions `key` carry: no later step has them."""
        with self._lock:
            for place in [place for place in self._order_states if place[0] == key]:
                del self._order_states[place]

    def goes_on(self, key: Any, evaluation: Any) -> bool:
        """Whether a model call takes up the last one of its conditions, `key`.

        `evaluation` is the object that the sampler made for one evaluation of the model. Of two
        calls with the same object, the second has other tokens: tiles of a latent, say.
        """
        with self._lock:
            last = self._evaluation_of_last.get(key)
            self._evaluation_of_last[key] = evaluation
        return last is not evaluation

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
                "attention; the render goes on. %s\n%s\n"
                "%s says whether something is missing here.", text, traceback_text(error),
                self.host.self_test,
            )  # fmt: skip
        self.end()
        self.host.let_go(error)

    def end(self) -> None:
        """Drops the tensors that lead from step to step, and those that serve any run.

        A run beside this one copies its token order to the GPU again.
        """
        with self._lock:
            self._order_states.clear()
            self._evaluation_of_last.clear()
            self._kept = dict.fromkeys(MOST_KEPT, 0)
        release_orders()

    def first_time(self, what: str) -> bool:
        """True once per run for each `what`: to say a thing once."""
        with self._lock:
            new = what not in self._said
            self._said.add(what)
            return new

    def repeated(self) -> None:
        """A call of the model is made again: its sparse calls are counted, and thrown away."""
        with self._lock:
            self._repeated += 1
        log.warning(
            "PSA %s: the model was called again in this step, dense. Whatever counts model "
            "calls by itself, as some caches do, is one ahead from here on.", self.preset.label,
        )  # fmt: skip

    def finish(self, ended: str | None) -> tuple[dict[str, Any], RunRecord]:
        """What ran, in plain types, and the record that tells it in full. Waits for the GPU.

        The first is the source of every log line, event and report. ended: what ended the run
        before its last step, None where it went through.
        """
        seconds = time.monotonic() - self.started
        record = self.recorder.finish()
        report = {
            "preset": self.preset.label,
            "plan": ["dense" if step.dense else "sparse" for step in self.schedule.steps],
            "plan_text": self.schedule.describe(),
            "failure": self.failure,
            "repeated": self._repeated,
            "ended": ended,
            "seconds": round(seconds, 3),
            **figures(record, self.schedule.steps),
        }
        return report, record


def _memory(device: torch.device) -> int:
    """Bytes of memory that a device has; for a CPU, a fair guess."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return 2**35
