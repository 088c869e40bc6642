"""ComfyUI in the test's own process, with the tiny Wan and this pack.

Tests that need a server, or a ComfyUI started otherwise, use the `comfy_server` fixture.
"""

import asyncio
import importlib
import sys

from psa_pack.tools import comfy_inprocess, random_wan

from .pack_import import ROOT

TEXT_TOKENS = 16


class ComfyInProcess(comfy_inprocess.ComfyInProcess):
    def tiny_wan(self, **options: int):
        """A ModelPatcher of the tiny Wan, through ComfyUI's loader."""
        import comfy.sd

        return comfy.sd.load_diffusion_model_state_dict(random_wan.tiny_wan(**options))

    def sample(
        self,
        model,
        *,
        shape: tuple[int, ...] = (1, 16, 3, 16, 16),
        steps: int = 4,
        cfg: float = 6.0,
        seed: int = 1,
        **options,
    ):
        """What KSampler does, with random conditioning; returns the latent."""
        import torch

        return self.ksampler(
            model, positive=_conditioning(1), negative=_conditioning(2),
            latent=torch.zeros(shape), seed=seed, steps=steps, cfg=cfg, **options,
        )  # fmt: skip

    def load_pack(self):
        """This pack, loaded by ComfyUI's own loader under the name ComfyUI gives it."""
        nodes = importlib.import_module("nodes")
        server = importlib.import_module("server")
        name = str(ROOT).replace(".", "_x_")
        if name not in sys.modules:
            loop = asyncio.new_event_loop()
            if getattr(server.PromptServer, "instance", None) is None:
                server.PromptServer(loop)
            assert loop.run_until_complete(nodes.load_custom_node(str(ROOT)))
        return sys.modules[name]

    def node(self, node_id: str):
        """A node class as ComfyUI registered it."""
        self.load_pack()
        return importlib.import_module("nodes").NODE_CLASS_MAPPINGS[node_id]


def _conditioning(seed: int) -> list:
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, TEXT_TOKENS, random_wan.TEXT_DIM, generator=generator), {}]]
