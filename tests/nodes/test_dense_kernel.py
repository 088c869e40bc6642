"""Which attention serves the calls that PSA leaves dense: the user's choice, and it is named."""

import logging

import pytest
import torch

from .sampling import sparse_config

STEPS, WARM_UP, BLOCKS = 4, 2, 2
INT8 = "Comfy Kitchen int8 attention"


@pytest.fixture
def int8(comfy_inproc, monkeypatch):
    """Calls of a stand-in of Comfy Kitchen's attention, which needs a GPU: PyTorch's under its
    name, in ComfyUI's own register."""
    import comfy.ldm.modules.attention as attention

    if not hasattr(attention, "REGISTERED_ATTENTION_FUNCTIONS"):
        pytest.skip("this ComfyUI has no register of attention functions")
    comfy_inproc.load_pack()
    calls = []

    def attention_comfy_kitchen_int8(q, k, v, heads, **kwargs):
        calls.append((q.shape, k.shape))
        return attention.attention_pytorch(q, k, v, heads, **kwargs)

    known = attention.REGISTERED_ATTENTION_FUNCTIONS
    monkeypatch.setitem(
        known, "comfy_kitchen_int8", attention.wrap_attn(attention_comfy_kitchen_int8)
    )
    return calls


def backend(model):
    """The node Model Attention Backend on a model."""
    nodes = pytest.importorskip("comfy_extras.nodes_model_advanced")
    node = getattr(nodes, "ModelAttentionBackend", None)
    if node is None:
        pytest.skip("this ComfyUI has no Model Attention Backend")
    return node().patch(model, "comfy kitchen attention")[0]


@pytest.mark.parametrize("first", ["backend", "psa"])
def test_a_chosen_backend_serves_all_dense_calls_and_is_named(bench, int8, caplog, first):
    config = sparse_config(warmup_steps=WARM_UP)
    if first == "backend":
        patched = bench.patch(config, model=backend(bench.model))
    else:
        patched = backend(bench.patch(config))
    with caplog.at_level(logging.INFO):
        bench.sample(patched, steps=STEPS)
    calls = bench.report["calls"]
    assert calls["sparse"] == (STEPS - WARM_UP) * BLOCKS
    assert calls["dense"]["warm-up"] == WARM_UP * BLOCKS
    # the dense steps' self-attention, and all cross-attention
    assert sum(q == k for q, k in int8) == WARM_UP * BLOCKS
    assert len(int8) == sum(calls["dense"].values())
    assert bench.report["dense_kernel"] == INT8 and bench.report["cheaper_kernel"] is None
    assert f"sparse. Dense calls run {INT8}" in caplog.text


def test_a_dense_preset_gives_the_bits_of_the_backend_alone(bench, int8):
    from psa_pack.psa_kernels import PSAConfig

    alone = backend(bench.model)
    wanted = bench.sample(alone, steps=2)
    count = len(int8)
    out = bench.sample(bench.patch(PSAConfig(type="dense"), model=alone), steps=2)
    assert torch.equal(out, wanted) and len(int8) == 2 * count


@pytest.mark.parametrize(
    ("flag", "how"),
    [
        ("COMFY_KITCHEN_INT8_ATTENTION_IS_AVAILABLE", "Model Attention Backend"),
        ("SAGE_ATTENTION_IS_AVAILABLE", "--use-sage-attention"),
    ],
)
@pytest.mark.usefixtures("nothing_cheaper")
def test_a_cheaper_kernel_that_is_installed_is_said(bench, monkeypatch, caplog, flag, how):
    import comfy.ldm.modules.attention as attention

    from psa_pack.nodes.reporting.words import dense_kernel

    monkeypatch.setattr(attention, flag, True, raising=False)
    with caplog.at_level(logging.INFO):
        bench.sample(bench.patch(sparse_config(warmup_steps=1)), steps=3)
    assert how in bench.report["cheaper_kernel"]
    assert how in dense_kernel(bench.report) and caplog.text.count(how) == 1
    # without dense steps there is nothing to gain
    caplog.clear()
    with caplog.at_level(logging.INFO):
        bench.sample(bench.patch(), steps=3)
    assert how not in caplog.text and how not in dense_kernel(bench.report)


def test_names():
    from psa_pack.nodes.patching.dense_kernel import dense_kernel

    def attention_sage():
        pass

    def other_nodes(module):
        def override(func, *args, **kwargs):
            return func(*args, **kwargs)

        override.__module__ = module
        return override

    assert dense_kernel(attention_sage, None).name == "SageAttention"
    assert dense_kernel(attention_sage, None).cheaper is None
    assert dense_kernel(test_names, None).name == "test_names"
    for module in ("/x/custom_nodes/KJNodes.nodes.model", "C:\\x\\custom_nodes\\KJNodes"):
        found = dense_kernel(attention_sage, other_nodes(module))
        assert found.name == "another node's attention (KJNodes)"
    # another node that holds one of ComfyUI's functions
    assert dense_kernel(test_names, lambda *args: attention_sage()).name == "SageAttention"
    assert dense_kernel(test_names, object()).name.startswith("another node's attention")
