"""PSA Self-test: does PSA work on this machine?"""

from __future__ import annotations

import dataclasses
import json
import time

import comfy.model_management
from comfy_api.latest import io, ui

from ..psa_kernels import measured
from ..psa_kernels.selftest import run_apart
from .measuring import measure_here, show

COLUMNS = 76  # that the node shows without wrapping a line
HEAD_DIMS = tuple(map(str, measured.HEAD_DIMS))  # as a combo's options


class PSASelfTest(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSASelfTest",
            display_name="PSA Self-test",
            category="PSA",
            description="Checks that pyramid sparse attention runs on this machine and that its "
            "numbers are right, and says what is missing and how to get it. It needs no other "
            "node: add it and queue.",
            inputs=[
                io.Boolean.Input(
                    "verbose",
                    default=False,
                    optional=True,
                    tooltip="Every case that was tried, and the tracebacks of what failed.",
                ),
                io.Boolean.Input(
                    "every_feature",
                    default=False,
                    optional=True,
                    tooltip="The kernels' every feature and dtype, not only what presets use. "
                    "Minutes, since each is compiled.",
                ),
                io.Int.Input(
                    "time_limit",
                    default=600,
                    min=10,
                    max=7200,
                    step=10,
                    optional=True,
                    tooltip="Seconds after which the test is stopped.",
                ),
                io.Boolean.Input(
                    "measure",
                    default=False,
                    optional=True,
                    tooltip="After the test, find the fastest settings of the kernels on this GPU "
                    "and what attention takes on it, for estimates, and keep both in ComfyUI's "
                    "user folder: up to 90 seconds more. Models in the GPU's memory are unloaded.",
                ),
                io.Combo.Input(
                    "head_dim",
                    options=list(HEAD_DIMS),
                    default=HEAD_DIMS[0],
                    optional=True,
                    tooltip="Only with measure: the size of the model's attention heads. 128 for "
                    "most video models, 64 for CogVideoX and Kandinsky 5.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="text", tooltip="The report."),
                io.String.Output(display_name="json", tooltip="The report as JSON."),
                io.Boolean.Output(
                    display_name="passed", tooltip="Whether all that can run here works."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs):
        # What is installed may have changed since the last run.
        return time.time_ns()

    @classmethod
    def execute(
        cls, verbose=False, every_feature=False, time_limit=600, measure=False,
        head_dim=HEAD_DIMS[0],
    ) -> io.NodeOutput:  # fmt: skip
        if head_dim not in HEAD_DIMS:  # which ComfyUI 0.3.75 lets pass
            raise ValueError(f"head_dim: found {head_dim!r}; give one of {', '.join(HEAD_DIMS)}")
        on_cpu = comfy.model_management.get_torch_device().type == "cpu"
        alive = comfy.model_management.throw_exception_if_processing_interrupted
        node_id = cls.hidden.unique_id if cls.hidden else None
        show("testing PSA on this machine", node_id)
        report = run_apart(
            time_limit,
            every=every_feature,
            use_gpu=not on_cpu,  # as ComfyUI itself was started
            alive=alive,
        )
        if measure and report.ok:
            found = measure_here(int(head_dim), alive, node_id)
            report = dataclasses.replace(report, checks=(*report.checks, found))
        text, shown = report.text(verbose), report.text(verbose, COLUMNS)
        content = json.dumps(report.json(), indent=1)
        return io.NodeOutput(text, content, report.ok, ui=ui.PreviewText(shown))
