"""The last runs of a model with PSA, carried by the model itself and by every clone of it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from ...psa_engines.core.preset_value import PresetValue
from ...psa_engines.core.recording.records import RunRecord

KEY = "psa_log"  # in a model's transformer options
MOST_RUNS = 16


@dataclass
class LoggedRun:
    """report        see `Run.finish`; None if PSA could not plan the run
    record        None if there is no report
    preset        the preset of the run
    grid          (frames, height, width) of the video's tokens, and the number of other tokens
    dense_blocks  blocks that should stay dense
    prompt        the prompt of ComfyUI's queue; None outside of it
    note          why there is no report
    """

    report: dict[str, Any] | None = None
    record: RunRecord | None = None
    preset: PresetValue | None = None
    grid: tuple[tuple[int, int, int], int] | None = None
    dense_blocks: frozenset[int] = frozenset()
    prompt: str | None = None
    note: str | None = None
    reported: bool = False


class RunLog:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: deque[LoggedRun] = deque(maxlen=MOST_RUNS)
        # how many more runs `latest` would give if all were kept
        self.left_out = 0

    def __deepcopy__(self, memo: dict) -> RunLog:
        # options are copied with every clone of a model; all clones write into one log
        return self

    def add(self, run: LoggedRun) -> None:
        with self._lock:
            if self._runs and not _together(self._runs[-1], run):
                self.left_out = 0
            if len(self._runs) == MOST_RUNS and _together(self._runs[0], run):
                self.left_out += 1
            self._runs.append(run)

    def latest(self) -> list[LoggedRun]:
        """The runs of the same queued prompt as the last one, oldest first.

        Outside of ComfyUI's queue: the runs that no report has shown yet, or else the last one.
        """
        with self._lock:
            if not self._runs:
                return []
            last = self._runs[-1]
            if last.prompt is not None:
                found = [run for run in self._runs if run.prompt == last.prompt]
            else:
                new = [run for run in self._runs if run.prompt is None and not run.reported]
                found = new or [last]
            for run in found:
                run.reported = True
            return found


def _together(earlier: LoggedRun, run: LoggedRun) -> bool:
    """Whether `latest` gives both once `run` is the last."""
    return earlier.prompt == run.prompt and (run.prompt is not None or not earlier.reported)


def log_of(model: Any) -> RunLog | None:
    """The log that Apply PSA left in a `ModelPatcher`'s options."""
    options = getattr(model, "model_options", None) or {}
    return (options.get("transformer_options") or {}).get(KEY)
