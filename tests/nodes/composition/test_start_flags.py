"""Servers that were started otherwise: another attention, little memory, other precisions."""

import pytest
import torch

from psa_pack.tools.comfy_client import ComfyClient
from psa_pack.tools.comfy_server import ComfyServer
from psa_pack.tools.random_wan import write_tiny_wan

from ...pack_import import ROOT
from ..graphs import BLOCKS, STEPS, Graph, reports
from .beside import covers

pytestmark = covers("start flags")

CALLS = STEPS * BLOCKS
# ComfyUI refuses --lowvram and --novram beside --cpu; test_weights.py has what they do to a model
# attention, other flags, rounding: after every layer, over four steps at cfg 6
FLAGS = {
    "float16, split attention": (
        "--use-split-cross-attention",
        ["--force-fp16", "--disable-smart-memory", "--deterministic", "--cache-none"],
        3e-2,
    ),
    "bfloat16, sub-quadratic attention": (
        "--use-quad-cross-attention", ["--bf16-unet", "--force-upcast-attention"], 1e-1
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLAGS)
def test_a_server_started_with(comfyui_path, name):
    attention, flags, rounding = FLAGS[name]
    packs = {"ComfyUI-PSA": ROOT, "psa_test_prompts": ROOT / "tests" / "packs" / "prompts"}
    server = ComfyServer(
        comfyui_path, packs, cpu=True, flags=flags, attention=attention,
        env={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    with server:
        write_tiny_wan(server.base / "models" / "diffusion_models" / "tiny_wan.safetensors")
        graph = Graph(ComfyClient(server.url), server.base)
        model = graph.model()
        full = {f"level_{n}_to": 1.0 for n in (1, 2, 4, 8)}
        presets = {
            "full": graph.preset(**full, tail="none"),
            "sparse": graph.preset(),
            "dense": graph.preset(type="dense"),
        }
        names = {"plain": graph.sample(model)}
        names |= {
            key: graph.sample(graph.psa(model, preset, node_id=key))
            for key, preset in presets.items()
        }
        run = graph.run()
        latents = {key: graph.latent(saved).float() for key, saved in names.items()}
        log = server.log()

    found = reports(run)
    assert {key: report["calls"]["sparse"] for key, report in found.items()} == {
        "full": CALLS, "sparse": CALLS, "dense": 0,
    }  # fmt: skip
    assert not any(report["failure"] for report in found.values())
    assert not [line for line in log.splitlines() if "PSA" in line and "error" in line.lower()]
    assert all(torch.isfinite(latent).all() for latent in latents.values())
    plain = latents["plain"]
    assert torch.equal(latents["dense"], plain)
    assert (latents["full"] - plain).abs().max() < rounding * plain.abs().max()
    assert (latents["sparse"] - plain).abs().max() > 2 * rounding * plain.abs().max()
