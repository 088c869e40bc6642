"""Apply PSA: put pyramid sparse attention on a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io
from server import PromptServer

from .compat import declare
from .dense_blocks import check_dense_blocks, read_dense_blocks
from .given_values import fits, held
from .patching.apply import apply_psa
from .patching.run import PatchOptions
from .preset_link import PSAPreset
from .preset_value import check_link, checked
from .queued import queued_inputs
from .reporting.words import headline

SCHEDULE_PRESET = "preset"
SCHEDULE_PERCENT = "percent"
START, END = 0.2, 1.0
RUN_FINISHED = "psa.run_finished"
PROGRESS = "psa.progress"


class PSAApply(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSAApply",
            display_name="Apply PSA",
            category="PSA",
            description="Makes the model sample with pyramid sparse attention. Put it between the "
            "model loader and the sampler, before or after other model patches.",
            inputs=[
                io.Model.Input("model", tooltip="A video diffusion model."),
                PSAPreset.Input(
                    "preset",
                    lazy=True,
                    tooltip="From PSA Preset Loader or PSA Preset Editor.",
                ),
                io.Boolean.Input(
                    "enabled",
                    default=True,
                    optional=True,
                    label_on="on",
                    label_off="off",
                    tooltip="Off: the model passes through untouched.",
                ),
                io.Combo.Input(
                    "schedule",
                    options=[SCHEDULE_PRESET, SCHEDULE_PERCENT],
                    default=SCHEDULE_PRESET,
                    optional=True,
                    tooltip="preset: the preset's warm-up steps and dense ranges of steps are "
                    "dense. percent: only steps between start and end percent are sparse instead.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=START,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Used with schedule = percent. Sampling before this point stays dense.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=END,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="Used with schedule = percent. Sampling after this point stays dense.",
                ),
                io.String.Input(
                    "dense_blocks",
                    default="",
                    optional=True,
                    tooltip="Transformer blocks that stay dense, like 0, 1, 38-39. Empty: none.",
                ),
                declare(
                    io.Int.Input,
                    "min_tokens",
                    default=4096,
                    min=0,
                    max=1_000_000,
                    step=256,
                    optional=True,
                    tooltip="Videos with fewer tokens than this stay dense: attention takes little "
                    "of their time, and they tolerate sparsity least.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model, sampling with PSA.")
            ],
            hidden=[io.Hidden.unique_id],
            # Each run's event names this node. A model that was cached for another node with the
            # same inputs would name that node.
            not_idempotent=True,
        )

    @classmethod
    def settle(cls, inputs):
        """Removes from a queued node that is switched off what ComfyUI would refuse."""
        if inputs.get("enabled") is not False:
            return
        inputs.setdefault("preset", None)
        for widget in cls.define_schema().inputs:
            value = inputs.get(widget.id)
            if not isinstance(value, list) and not fits(widget, value):
                inputs.pop(widget.id, None)

    @classmethod
    def validate_inputs(cls, dense_blocks=None):
        inputs = queued_inputs()
        # A node that is off refuses nothing. Nor does one whose `enabled` only its run knows.
        if inputs.get("enabled", True) is not True:
            return True
        answer = check_dense_blocks(dense_blocks)
        answer = check_window(inputs) if answer is True else answer
        return check_link(inputs, "preset") if answer is True else answer

    @classmethod
    def check_lazy_status(cls, enabled=True, preset=None, **others):
        return ["preset"] if enabled and preset is None else []

    @classmethod
    def execute(
        cls,
        model,
        preset=None,
        enabled=True,
        schedule=SCHEDULE_PRESET,
        start_percent=START,
        end_percent=END,
        dense_blocks="",
        min_tokens=4096,
    ) -> io.NodeOutput:
        widgets = {widget.id: widget for widget in cls.define_schema().inputs}
        if not held(widgets["enabled"], enabled):
            return io.NodeOutput(model)
        preset = checked("preset", preset)
        schedule = held(widgets["schedule"], schedule)
        start_percent = held(widgets["start_percent"], start_percent)
        end_percent = held(widgets["end_percent"], end_percent)
        min_tokens = held(widgets["min_tokens"], min_tokens)
        options = PatchOptions(
            window=window_of(schedule, start_percent, end_percent),
            dense_blocks=read_dense_blocks(dense_blocks),
            min_tokens=min_tokens,
        )
        node_id = cls.hidden.unique_id if cls.hidden else None
        return io.NodeOutput(
            apply_psa(
                model,
                preset,
                options,
                lambda report: _send(RUN_FINISHED, node_id, _finished(report)),
                lambda message: _send(PROGRESS, node_id, message),
            )
        )


def window_of(schedule: str, start: float, end: float) -> tuple[float, float] | None:
    """The percent window that replaces the preset's warm-up, or None. Raises `ValueError`."""
    if schedule == SCHEDULE_PRESET:
        return None
    if start > end:
        raise ValueError(
            f"start_percent: found {start:g}, which is after end_percent {end:g}. "
            "Fix: give a start at or before the end"
        )
    return start, end


def check_window(inputs: Mapping[str, Any]) -> bool | str:
    """What `validate_inputs` answers about the window in a queued node: True, or what is wrong.

    Values that come by a link, or that ComfyUI refuses itself, are not checked here.
    """
    start, end = inputs.get("start_percent", START), inputs.get("end_percent", END)
    if not all(isinstance(value, int | float) for value in (start, end)):
        return True
    if inputs.get("schedule") != SCHEDULE_PERCENT:
        return True
    try:
        window_of(SCHEDULE_PERCENT, start, end)
    except ValueError as error:
        return str(error)
    return True


def _finished(report: dict[str, Any]) -> dict[str, Any]:
    """What the page gets when a run is over: its report, and the line that the node shows."""
    state = "failed" if report["failure"] else "sparse" if report["calls"]["sparse"] else "dense"
    return {"report": report, "text": headline(report), "state": state}


def _send(event: str, node_id: str | None, data: dict[str, Any]) -> None:
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_sync(event, {"node": node_id, **data}, server.client_id)
