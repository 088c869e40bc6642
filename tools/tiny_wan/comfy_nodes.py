"""Two nodes for the demo only: a prompt in the small model's few words, and its linear decoder."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import ComfyExtension, io

from . import conditions
from .codec import Codec

CODEC_FOLDER = "vae"  # of ComfyUI's models: where decoders lie


class PSATinyWanPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PSATinyWanPrompt",
            display_name="PSA Tiny Wan Prompt",
            category="PSA/demo",
            description="A prompt for the demo's model. Phrases, separated by commas: "
            + "; ".join(_form(phrase) for phrase in conditions.PHRASES[:3])
            + "; up to three more objects. Empty: no prompt.",
            inputs=[io.String.Input("prompt", multiline=True)],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def validate_inputs(cls, prompt):
        try:
            conditions.parse(prompt)
        except conditions.PromptError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, prompt) -> io.NodeOutput:
        return io.NodeOutput([[conditions.context(prompt), {}]])


def _form(phrase: tuple[tuple[str, ...], ...]) -> str:
    return " ".join("|".join(choices) for choices in phrase)


class PSATinyWanDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PSATinyWanDecode",
            display_name="PSA Tiny Wan Decode",
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


class TinyWanNodes(ComfyExtension):
    async def get_node_list(self):
        return [PSATinyWanPrompt, PSATinyWanDecode]
