"""Fixtures of the node tests; `comfy_inproc` and `comfy_server` come from tests/conftest.py."""

import pytest

from .. import measured_gpu


@pytest.fixture(scope="session")
def one_thread():
    """The tensors are tiny: more threads only get into each other's way."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def session_bench(comfy_inproc, one_thread):
    from .sampling import Bench

    return Bench(comfy_inproc)


@pytest.fixture
def bench(session_bench):
    """The tiny Wan with an empty list of reports."""
    session_bench.reports.clear()
    return session_bench


@pytest.fixture
def no_forward_stays(bench):
    """ComfyUI unpatches a forward by putting the class's own on the instance. There it would hide a
    replacement on the class from later tests, whose model it is too."""
    yield
    import comfy.model_management

    comfy.model_management.unload_all_models()
    for module in bench.model.model.diffusion_model.modules():
        for name in ("forward", "forward_orig"):
            vars(module).pop(name, None)


@pytest.fixture
def nothing_cheaper(comfy_inproc, monkeypatch):
    """No quantised attention is installed, whatever this machine has."""
    import comfy.ldm.modules.attention as attention

    for name in ("COMFY_KITCHEN_INT8_ATTENTION_IS_AVAILABLE", "SAGE_ATTENTION_IS_AVAILABLE"):
        monkeypatch.setattr(attention, name, False, raising=False)


@pytest.fixture
def served_calls_only(bench, monkeypatch):
    """No kernel is compiled ahead, by a call that whoever counts calls would see too."""
    from psa_pack.nodes.patching import compiling

    monkeypatch.setattr(compiling, "compiles", lambda device: False)


@pytest.fixture
def failing(monkeypatch):
    """failing(n, fault): the n-th sparse call of PSA (from 1) meets it; the others are real.

    A fault is a number to put into the output, or makes the exception to raise.
    """
    from psa_engines.core import deciding

    real = deciding.psa_attention

    def arrange(nth, fault):
        calls = []

        def attention(*args, **kwargs):
            calls.append(1)
            out, stats = real(*args, **kwargs)
            if len(calls) == nth:
                if callable(fault):
                    raise fault()
                out[..., 3, 5] = fault
            return out, stats

        monkeypatch.setattr(deciding, "psa_attention", attention)

    return arrange


@pytest.fixture
def graph(comfy_client, comfy_server):
    """new() -> a Graph for the session's server."""
    from .graphs import Graph

    return lambda: Graph(comfy_client, comfy_server.base)


@pytest.fixture
def unmeasured(comfy_inproc, monkeypatch, tmp_path):
    """A GPU of which nothing is known."""
    from psa_kernels import measured
    from psa_kernels.measured import Machine, entries, place
    from psa_pack.nodes.estimate import times

    for module in (entries, times):
        monkeypatch.setattr(module, "machine_of", lambda device: Machine(**measured_gpu.MACHINE))
    monkeypatch.setenv(place.VARIABLE, str(tmp_path / "measured.json"))
    measured.forget()
    yield tmp_path / "measured.json"
    measured.forget()


@pytest.fixture
def gpu(unmeasured):
    """What was measured there is in the file."""
    from psa_kernels import measured

    measured_gpu.write(unmeasured)
    measured.forget()
    return unmeasured
