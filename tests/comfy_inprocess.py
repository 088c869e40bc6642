"""ComfyUI imported into the test's own process: its samplers without its server.

ComfyUI reads sys.argv once, while it is imported, and its modules have common names (`nodes`,
`utils`, `server`).  All of it happens here, once, in the order that works; sys.argv is put back.
Tests that need a server, or a ComfyUI started otherwise, use the `comfy_server` fixture.
"""

import asyncio
import importlib
import sys
from pathlib import Path

from psa_pack.tools import comfy_server, tiny_wan

from .pack_import import ROOT

TEXT_TOKENS = 16


class ComfyInProcess:
    def __init__(self, comfyui: Path, base: Path):
        self.path = comfyui
        self.base = comfy_server.make_base(base, {})
        argv = sys.argv
        sys.argv = ["main.py", *comfy_server.launch_flags(base, cpu=_cpu())]
        sys.path.insert(0, str(comfyui))
        try:
            import comfy.options

            comfy.options.enable_args_parsing()
            # parses sys.argv now
            import comfy.cli_args
        finally:
            sys.argv = argv
        import comfy.sample
        import comfy.sd

    def tiny_wan(self, **options: int):
        """A ModelPatcher of the tiny Wan, through ComfyUI's loader."""
        import comfy.sd

        return comfy.sd.load_diffusion_model_state_dict(tiny_wan.tiny_wan(**options))

    def sample(
        self,
        model,
        *,
        shape: tuple[int, ...] = (1, 16, 3, 16, 16),
        steps: int = 4,
        cfg: float = 6.0,
        sampler: str = "euler",
        scheduler: str = "simple",
        seed: int = 1,
        **options,
    ):
        """What KSampler does, with random conditioning; returns the latent."""
        import comfy.sample
        import torch

        latent = torch.zeros(shape)
        noise = comfy.sample.prepare_noise(latent, seed)
        positive, negative = _conditioning(1), _conditioning(2)
        with torch.inference_mode():
            return comfy.sample.sample(
                model, noise, steps, cfg, sampler, scheduler, positive, negative, latent,
                disable_pbar=True, seed=seed, **options,
            )  # fmt: skip

    def load_pack(self):
        """This pack, loaded by ComfyUI's own loader under the name ComfyUI gives it."""
        # before `nodes`: that puts comfy/ on sys.path, whose utils.py would then be found instead
        importlib.import_module("utils.extra_config")
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


def _cpu() -> bool:
    return not comfy_server.gpu_with_kernels()


def _conditioning(seed: int) -> list:
    import torch

    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, TEXT_TOKENS, tiny_wan.TEXT_DIM, generator=generator), {}]]
