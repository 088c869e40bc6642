"""Nodes for the demo only: the small model's prompt, its empty latent and its linear decoder."""

from __future__ import annotations

import folder_paths
import torch
from comfy_api.latest import ComfyExtension, io

from . import conditions
from .codec import CHANNELS, FRAMES, PIXELS, Codec

CODEC_FOLDER = "vae"  # of ComfyUI's models: where decoders lie
TOKEN = 2 * PIXELS  # pixels of a token's side


class PSASmallWanPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PSASmallWanPrompt",
            display_name="PSA Small Wan Prompt",
            category="PSA/demo",
            description="A prompt for the demo's model: a camera, a place and one to "
            f"{conditions.MAX_OBJECTS} objects from back to front, separated by commas, as in "
            "'camera still, hills, tiger resting'. A phrase that it does not know is answered "
            "with those that it does. Empty: no prompt.",
            inputs=[io.String.Input("prompt", multiline=True)],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def validate_inputs(cls, prompt):
        if prompt is None:  # comes by a link, and is read when the node runs
            return True
        try:
            conditions.parse(prompt)
        except conditions.PromptError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, prompt) -> io.NodeOutput:
        return io.NodeOutput([[conditions.context(prompt), {}]])


class PSASmallWanLatent(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def side(name: str) -> io.Int.Input:
            return io.Int.Input(name, default=256, min=64, max=1024, step=TOKEN)

        return io.Schema(
            node_id="PSASmallWanLatent",
            display_name="PSA Small Wan Latent",
            category="PSA/demo",
            description=f"An empty latent for the demo's model. {TOKEN} x {TOKEN} pixels of "
            f"{FRAMES} frames are one token; the first frame has a token frame of its own.",
            inputs=[
                side("width"),
                side("height"),
                io.Int.Input("length", default=15, min=1, max=81, step=FRAMES),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, width, height, length) -> io.NodeOutput:
        frames = (length - 1) // FRAMES + 1
        return io.NodeOutput(
            {"samples": torch.zeros(1, CHANNELS, frames, height // PIXELS, width // PIXELS)}
        )


class PSASmallWanDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PSASmallWanDecode",
            display_name="PSA Small Wan Decode",
            category="PSA/demo",
            description="The frames of a latent of the demo's model, by its linear codec.",
            inputs=[
                io.Latent.Input("samples"),
                io.Combo.Input("codec", options=folder_paths.get_filename_list(CODEC_FOLDER)),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, samples, codec) -> io.NodeOutput:
        decoder = Codec.load(folder_paths.get_full_path_or_raise(CODEC_FOLDER, codec))
        pixels = decoder.decode(decoder.from_comfy(samples["samples"].cpu()))
        # [B, 3, F, H, W] -> [B * F, H, W, 3]
        return io.NodeOutput(pixels.movedim(1, -1).flatten(0, 1))


class SmallWanNodes(ComfyExtension):
    async def get_node_list(self):
        return [PSASmallWanPrompt, PSASmallWanLatent, PSASmallWanDecode]
