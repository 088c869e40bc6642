"""A server whose Triton is missing or broken: the nodes are there, and renders end."""

import os

import pytest
import torch

from psa_pack.tools.comfy_client import ComfyClient
from psa_pack.tools.comfy_server import ComfyServer, gpu_with_kernels
from psa_pack.tools.random_wan import write_tiny_wan

from ...pack_import import ROOT
from ...selftest.broken_triton import failing_import
from ..graphs import BLOCKS, STEPS, Graph, reports

CALLS = STEPS * BLOCKS
ASKED = "asked.txt"  # who imported a broken Triton


def in_front(folder):
    """PYTHONPATH with `folder` before what this process has there."""
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def missing(folder):
    (folder / "sitecustomize.py").write_text("import sys; sys.modules['triton'] = None\n")
    return {"PYTHONPATH": in_front(folder)}


def broken(folder):
    note = f"open({str(folder / ASKED)!r}, 'a').writelines(traceback.format_stack())"
    # torch itself takes no other error of Triton's import
    fails = "raise ImportError('DLL load failed while importing libtriton')"
    statement = f"import traceback; {note}; {fails}"
    return {"PYTHONPATH": in_front(failing_import(folder, statement))}


def no_compiler(folder):
    return {"CC": str(folder / "no-such-compiler"), "TRITON_CACHE_DIR": str(folder / "cache")}


FAULTS = {
    "not installed": (missing, "no kernels: Triton is not installed"),
    "does not import": (broken, "no kernels: Triton does not import"),
    "no C compiler": (no_compiler, "PSA stepped aside"),
}


# on a CPU nobody asks for Triton, so one server shows it
@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, marks=[pytest.mark.gpu] * (f != "does not import")) for f in FAULTS],
)
def test_a_render_ends(comfyui_path, tmp_path, fault):
    environment, reason = FAULTS[fault]
    packs = {"ComfyUI-PSA": ROOT, "psa_test_prompts": ROOT / "tests" / "packs" / "prompts"}
    env = {"OMP_NUM_THREADS": "1", **environment(tmp_path)}
    with ComfyServer(comfyui_path, packs, env=env) as server:
        write_tiny_wan(server.base / "models" / "diffusion_models" / "tiny_wan.safetensors")
        graph = Graph(ComfyClient(server.url), server.base)
        model = graph.model()
        plain = graph.sample(model)
        patched = graph.sample(graph.psa(model, node_id="apply"))
        report = reports(graph.run())["apply"]
        plain, patched = graph.latent(plain), graph.latent(patched)
        log = server.log()

    assert torch.isfinite(patched).all()
    if gpu_with_kernels():
        assert torch.equal(patched, plain)
        assert report["calls"]["sparse"] == 0
        assert any(reason in found for found in report["calls"]["dense"])
        assert log.count("leaves them dense") + log.count("steps aside") == 1
    else:
        # the reference serves a CPU, and nobody asks for Triton
        assert report["calls"] == {"sparse": CALLS, "dense": {"cross-attention": CALLS}}
        assert report["failure"] is None
        assert "riton" not in "".join(line for line in log.splitlines() if "PSA" in line)
        assert "leaves them dense" not in log and "steps aside" not in log
        asked = tmp_path / ASKED  # nor does loading the pack: others may
        assert not asked.exists() or "psa_kernels" not in asked.read_text()
