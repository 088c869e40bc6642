"""PSA Report: what PSA did in the sampling before it, and what it brought."""

from __future__ import annotations

import json
import logging

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..psa_engines.core.faults import one_line, traceback_text
from .patching.faults import Interrupt
from .recording.run_log import log_of
from .reporting.picture import picture_of
from .reporting.report import Report, as_json, reports_of
from .reporting.text import text_of

log = logging.getLogger("PSA")


class PSAReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSAReport",
            display_name="PSA Report",
            category="PSA",
            description="Shows what PSA did while a model sampled: which calls were sparse, how "
            "much of the attention was read, how long it took and how much time it saved.",
            inputs=[
                io.Model.Input("model", tooltip="The model that Apply PSA gives."),
                io.AnyType.Input(
                    "after",
                    tooltip="The sampler's output. The report waits for it and passes it on "
                    "unchanged.",
                ),
                io.Model.Input(
                    "model_2", optional=True,
                    tooltip="A second model with PSA, such as the other expert of Wan 2.2.",
                ),
            ],
            outputs=[
                io.AnyType.Output(display_name="after", tooltip="What came in, unchanged."),
                io.Image.Output(display_name="image", tooltip="The report as a picture."),
                io.String.Output(display_name="text", tooltip="The report as plain text."),
                io.String.Output(display_name="json", tooltip="All figures, for programs."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, model, after, model_2=None) -> io.NodeOutput:
        models = [model] if model_2 is None else [model, model_2]
        try:
            reports = reports_of([log_of(x) for x in models])
            made = _made(reports)
        except Interrupt:
            raise
        except Exception as error:  # what was sampled must not be lost for a report of it
            log.error(
                "PSA Report failed; what was sampled is handed on.\n%s", traceback_text(error)
            )
            made = _made([Report([], f"The report failed: {one_line(error)}")])
        image, text, data = made
        return io.NodeOutput(after, image, text, data, ui=_preview(image, cls))


def _made(reports: list[Report]) -> tuple[torch.Tensor, str, str]:
    data = json.dumps(as_json(reports), allow_nan=False, ensure_ascii=False)
    text = text_of(reports)
    try:
        pixels = np.asarray(picture_of(reports), dtype=np.float32) / 255
    except Exception as error:  # a PIL without real fonts
        log.error("PSA Report has no picture.\n%s", traceback_text(error))
        text += f"\nThere is no picture: {one_line(error)}\n"
        pixels = np.zeros((64, 64, 3), np.float32)
    return torch.from_numpy(pixels)[None], text, data


def _preview(image: torch.Tensor, node: type[io.ComfyNode]) -> ui.PreviewImage | None:
    try:
        return ui.PreviewImage(image, cls=node)
    except Exception as error:  # no room in the folder for temporary files
        log.error("PSA Report cannot show its picture in the node.\n%s", traceback_text(error))
        return None
