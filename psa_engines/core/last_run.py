"""What an engine's `apply_psa` gives: its runs, one after the other, and the report of the last."""

from __future__ import annotations

import logging
from typing import Any

import torch

from .faults import one_line, traceback_text
from .preset_value import PresetValue
from .recording.records import RunRecord
from .run import Run
from .summary import summary_line

log = logging.getLogger("PSA")


class LastRun:
    """note  why nothing can be sparse, or a call was not; None where there is nothing to say

    An engine notes in `_run` the run that a call belongs to, and with each call of the model
    forgets what it had `_finished`.
    """

    def __init__(self, preset: PresetValue, note: str | None):
        self.preset, self.note = preset, note
        self._run: Run | None = None
        self._finished: tuple[dict[str, Any], RunRecord] | None = None

    def report(self) -> dict[str, Any]:
        """The figures of the last run, in plain types: the same as in ComfyUI.

        `note` says why there are none, where no run has begun.
        """
        if self._run is None:
            return {"preset": self.preset.label, "note": self.note or "no run has begun"}
        return {**self._finish()[0], "note": self.note}

    def record(self) -> RunRecord | None:
        """What the last run did, block by block and step by step; None before the first."""
        return None if self._run is None else self._finish()[1]

    def summary(self) -> str:
        """The last run in one line."""
        if self._run is None:
            return f"{self.preset.label}: {self.note or 'no run has begun'}"
        return summary_line(self._finish()[0]) + (f"; {self.note}" if self.note else "")

    def could_not_read(self, model: torch.nn.Module, error: Exception) -> None:
        """A call unlike those in the versions that we know stays dense. Said once."""
        note = f"PSA could not read a call of {type(model).__name__}, which stayed dense"
        note = f"{note}: {one_line(error)}"
        if self.note != note:
            self.note = note
            log.error("%s\n%s", note, traceback_text(error))

    def _finish(self) -> tuple[dict[str, Any], RunRecord]:
        if self._finished is None:
            self._finished = self._run.finish(None)
        return self._finished

    def end(self) -> None:
        """Says what the last run did, once, and drops what it kept."""
        run = self._run
        if run is None or not run.first_time("end"):
            return
        try:
            (log.error if run.failure else log.info)("PSA %s", self.summary())
        except Exception as error:  # the work is done
            log.warning("PSA %s: no report of this run (%s)", self.preset.label, one_line(error))
        run.end()
