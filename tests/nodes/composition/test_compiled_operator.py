"""The operator that a compiled model's graph holds in place of each attention call."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ..sampling import OVERRIDE
from .compiling import breaks, graphs

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def override_in(options, previous=None):
    """(what a compiled model's transformer options hold, the override) outside of any run."""
    from psa_pack.nodes.patching.compiled_models import traceable

    class Override:
        def __init__(self):
            self.previous = previous
            self.asked = []

        def __call__(self, func, *args, **kwargs):
            self.asked.append(kwargs["transformer_options"])
            return func(*args, **kwargs)

    override = Override()
    return traceable(override, options), override


def plain_attention(q, k, v, heads, **kwargs):
    return q + k + v


def ask(func, q, transformer_options, **more):
    serve = transformer_options[OVERRIDE]
    return serve(func, q, q, q, heads=2, transformer_options=transformer_options, **more)


def compiled(model):
    return torch.compile(model, backend="eager", fullgraph=True)


def answer(func, x, **more):
    """What a compiled model of one call of `func` gives."""

    def model(x, transformer_options):
        return ask(func, x, transformer_options, **more)

    options, _ = override_in({})
    with options as own:
        return compiled(model)(x, own)


def kept_guards(guards):
    return ["transformer_options" not in guard.name for guard in guards]


def test_a_block_that_got_a_copy_of_the_options_is_read_from_that_copy():
    """As HunyuanVideo's do in newer versions; one graph serves every block."""

    def block(x, transformer_options):
        return ask(plain_attention, x, transformer_options)

    options, override = override_in({"sigmas": 3})
    compiled_block = torch.compile(
        block, backend="eager", options={"guard_filter_fn": kept_guards}, fullgraph=True
    )
    with options as own:
        copy = own.copy()
        for index in range(4):
            copy["block_index"] = index
            compiled_block(torch.ones(1, 3, 4), copy)
    assert [asked["block_index"] for asked in override.asked] == [0, 1, 2, 3]
    assert all(asked["sigmas"] == 3 for asked in override.asked)
    assert graphs() == 1


def test_what_the_traced_model_publishes_is_told_per_layer_and_per_size():
    def model(x, transformer_options):
        transformer_options = transformer_options.copy()
        transformer_options["grid_sizes"] = (x.shape[1], 2)
        transformer_options["sizes"] = [x.shape[1] + 1]
        transformer_options["block_type"] = "double"
        for index in range(2):
            transformer_options["block_index"] = index
            x = ask(plain_attention, x, transformer_options)
        return x

    options, override = override_in({"step": 0})
    compiled_model = torch.compile(model, backend="eager", dynamic=True, fullgraph=True)
    with options as own:
        for length in (5, 7, 6):
            own["step"] = length
            compiled_model(torch.ones(1, length, 4), own)
    assert graphs() == 1
    names = ("grid_sizes", "sizes", "block_index", "step", "block_type")
    assert [tuple(asked[name] for name in names) for asked in override.asked] == [
        ((length, 2), [length + 1], index, length, "double")
        for length in (5, 7, 6) for index in (0, 1)
    ]  # fmt: skip


def test_an_output_is_no_part_of_an_input():
    x = torch.ones(1, 3, 4)
    out = answer(lambda q, k, v, heads, **_: q, x)
    assert torch.equal(out, x) and out.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("by_heads", [False, True])
def test_an_output_of_another_kind_is_copied_into_what_was_stated(by_heads):
    """Another dtype, another order in memory: what attention may give."""

    def odd(q, k, v, heads, skip_output_reshape=False, **kwargs):
        out = (q + k + v).double()
        if skip_output_reshape:
            return out.unflatten(-1, (heads, -1)).transpose(1, 2).contiguous()
        return out.mT.contiguous().mT

    x = torch.arange(24.0).view(2, 3, 4)
    out = answer(odd, x, skip_output_reshape=by_heads)
    by_tokens = out.transpose(1, 2) if by_heads else out
    assert torch.equal(by_tokens.flatten(2), 3 * x)
    assert out.dtype == x.dtype and by_tokens.is_contiguous()


def test_an_output_that_the_graph_cannot_go_on_with_is_named():
    with pytest.raises(RuntimeError, match=r"returned \[12\].*Fix: remove"):
        answer(lambda q, k, v, heads, **_: q.flatten(), torch.ones(1, 3, 4))


def test_without_a_run_a_graph_is_dense():
    """As one of newer ComfyUI's that outlives PSA's node: its guards are dropped."""

    def model(x, transformer_options):
        return ask(plain_attention, x, transformer_options)

    options, override = override_in({})
    with options as own:
        compiled(model)(torch.ones(1, 3, 4), own)
    out = compiled(model)(torch.ones(1, 3, 4), own)
    assert torch.equal(out, torch.full((1, 3, 4), 3.0)) and len(override.asked) == 1


def twice(x, transformer_options):
    """A model of two layers."""
    x = ask(plain_attention, x, transformer_options) + 1
    return ask(plain_attention, x, transformer_options)


@pytest.fixture
def reduced_overhead(monkeypatch):
    """twice(), compiled for CUDA graphs by Inductor, which gives its graphs back as they are."""
    made = []

    def as_it_is(self, graph, inputs):
        made.append(graph)
        return graph.forward

    monkeypatch.setattr(torch._TorchCompileInductorWrapper, "__call__", as_it_is)
    return torch.compile(twice, mode="reduce-overhead"), made


def test_inductor_is_told_that_no_cuda_graph_may_hold_the_operator(reduced_overhead):
    from torch._inductor.utils import get_first_incompatible_cudagraph_node

    from psa_pack.nodes.patching import compiled_call

    if not compiled_call.UNGRAPHED:
        pytest.skip("this torch has no such tag")
    model, made = reduced_overhead
    options, override = override_in({})
    with options as own:
        model(torch.ones(1, 3, 4), own)
    (graph,) = made
    assert len(override.asked) == 2 and breaks() == 0
    # partitioned, it would be cut at the operator
    with torch._inductor.config.patch(graph_partition=False):
        node = get_first_incompatible_cudagraph_node(graph)
    assert node.target is compiled_call._operator


def test_where_inductor_cannot_be_told_the_graph_ends_before_the_call(
    reduced_overhead, monkeypatch
):
    from psa_pack.nodes.patching import compiled_call

    monkeypatch.setattr(compiled_call, "UNGRAPHED", {})
    model, made = reduced_overhead
    options, override = override_in({})
    with options as own:
        for asked in (2, 4):
            assert torch.equal(model(torch.ones(1, 3, 4), own), torch.full((1, 3, 4), 12.0))
            assert len(override.asked) == asked
    assert breaks() > 0
    targets = {node.target for graph in made for node in graph.graph.nodes}
    assert compiled_call._operator not in targets


def two_devices():
    few = torch.cuda.device_count() < 2
    gpus = pytest.param(
        ("cuda:0", "cuda:1"), marks=pytest.mark.skipif(few, reason="needs two GPUs")
    )
    return pytest.mark.parametrize("devices", [("cpu", "cpu"), gpus], ids=["CPU", "two GPUs"])


@two_devices()
def test_threads_that_share_a_graph_ask_their_own_runs(devices):
    """ComfyUI's multigpu: one thread a GPU, each with model calls of its own."""
    model = compiled(twice)
    start, rounds = threading.Barrier(len(devices)), 20
    for device in set(devices):
        options, _ = override_in({})
        with options as own:
            model(torch.ones(1, 3, 4, device=device), own)
    made = graphs()

    def calls_of(thread):
        options, override = override_in({"thread": thread})
        x = torch.full((1, 3, 4), float(thread), device=devices[thread])
        with options as own:
            for _ in range(rounds):
                start.wait(600)
                out = model(x, own)
                assert torch.equal(out, torch.full_like(x, 9 * thread + 3)), thread
        return [asked["thread"] for asked in override.asked]

    with ThreadPoolExecutor(len(devices)) as pool:
        asked = list(pool.map(calls_of, range(len(devices))))
    assert asked == [[thread] * 2 * rounds for thread in range(len(devices))]
    assert graphs() == made
