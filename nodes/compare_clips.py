"""PSA Compare: how far one clip is from another, in figures and pictures."""

from __future__ import annotations

import json
from fractions import Fraction

import comfy.model_management
import comfy.utils
from comfy_api.latest import InputImpl, Types, io, ui

from .comparing.comparison import common, compare
from .comparing.pictures import difference, side_by_side


class PSACompare(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PSACompare",
            display_name="PSA Compare",
            category="PSA",
            description="Measures how far one clip is from another: PSNR, SSIM, LPIPS if it is "
            "installed, and how much the motion differs. For example, compare a clip sampled with "
            "PSA and the dense one of the same seed.",
            inputs=[
                io.Image.Input("reference", tooltip="Frames of the clip to compare with."),
                io.Image.Input("other", tooltip="Frames of the other clip, in the same size."),
                io.Float.Input(
                    "gain",
                    default=4.0,
                    min=1.0,
                    max=100.0,
                    step=0.5,
                    optional=True,
                    tooltip="The difference picture shows the difference times this number.",
                ),
                io.Float.Input(
                    "fps",
                    default=16.0,
                    min=1.0,
                    max=120.0,
                    step=0.01,
                    optional=True,
                    tooltip="Frames per second of the video.",
                ),
            ],
            outputs=[
                io.String.Output(
                    display_name="text", tooltip="The figures as text, for the clip and each frame."
                ),
                io.String.Output(display_name="json", tooltip="All figures as JSON."),
                io.Image.Output(
                    display_name="difference", tooltip="|other - reference| times gain."
                ),
                io.Image.Output(
                    display_name="side_by_side",
                    tooltip="Frames with the reference on the left and the other on the right.",
                ),
                io.Video.Output(display_name="video", tooltip="The same frames as a video."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, reference, other, gain=4.0, fps=16.0) -> io.NodeOutput:
        lengths = len(reference), len(other)
        reference, other, notes = common(reference, other)
        bar = comfy.utils.ProgressBar(len(reference))

        def done(frames: int) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update_absolute(frames)

        found = compare(reference, other, gain, lengths=lengths, notes=notes, done=done)
        both = side_by_side(reference, other)
        rate = Fraction(fps).limit_denominator(1001)
        video = InputImpl.VideoFromComponents(Types.VideoComponents(images=both, frame_rate=rate))
        return io.NodeOutput(
            f"{found.text()}\n\n{found.table()}",
            json.dumps(found.json(), indent=1),
            difference(reference, other, gain),
            both,
            video,
            ui=ui.PreviewText(found.text()),
        )
