"""A node pack for the tests only: conditioning without a text encoder."""

import torch
from comfy_api.latest import ComfyExtension, io

# what Wan's text embedding takes
TEXT_WIDTH = 4096


class PSADemoConditioning(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PSADemoConditioning",
            display_name="PSA Demo Conditioning",
            category="PSA/demo",
            description="Random numbers in place of a prompt's embedding, the same for a number.",
            inputs=[
                # not "seed": the page gives an input of that name a second widget
                io.Int.Input("prompt_number", default=1, min=0, max=2**31 - 1),
                io.Int.Input("tokens", default=16, min=1, max=512),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, prompt_number, tokens) -> io.NodeOutput:
        generator = torch.Generator().manual_seed(prompt_number)
        embedding = torch.randn(1, tokens, TEXT_WIDTH, generator=generator)
        return io.NodeOutput([[embedding, {}]])


class PromptNodes(ComfyExtension):
    async def get_node_list(self):
        return [PSADemoConditioning]


async def comfy_entrypoint():
    return PromptNodes()
