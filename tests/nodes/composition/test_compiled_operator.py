"""The operator that a compiled model's graph holds in place of each attention call."""

import pytest
import torch

from ..sampling import OVERRIDE
from .compiling import forget, graphs


@pytest.fixture(autouse=True)
def _fresh_compiler(comfy_nodes):
    forget()
    yield
    forget()


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


def returns_its_input(q, k, v, heads, **kwargs):
    return q


def ask(func, q, transformer_options):
    serve = transformer_options[OVERRIDE]
    return serve(func, q, q, q, heads=2, transformer_options=transformer_options)


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
    def model(x, transformer_options):
        return ask(returns_its_input, x, transformer_options)

    options, _ = override_in({})
    x = torch.ones(1, 3, 4)
    with options as own:
        out = torch.compile(model, backend="eager", fullgraph=True)(x, own)
    assert torch.equal(out, x) and out.data_ptr() != x.data_ptr()


def test_an_output_that_the_graph_cannot_go_on_with_is_named():
    def flat(q, k, v, heads, **kwargs):
        return q.flatten()

    def model(x, transformer_options):
        return ask(flat, x, transformer_options)

    options, _ = override_in({})
    with options as own, pytest.raises(RuntimeError, match=r"returned \[12\].*Fix: take"):
        torch.compile(model, backend="eager", fullgraph=True)(torch.ones(1, 3, 4), own)


def test_without_a_run_a_graph_is_dense():
    """As one of newer ComfyUI's that outlives PSA's node: its guards are dropped."""

    def model(x, transformer_options):
        return ask(plain_attention, x, transformer_options)

    options, override = override_in({})
    with options as own:
        torch.compile(model, backend="eager", fullgraph=True)(torch.ones(1, 3, 4), own)
    out = torch.compile(model, backend="eager", fullgraph=True)(torch.ones(1, 3, 4), own)
    assert torch.equal(out, torch.full((1, 3, 4), 3.0)) and len(override.asked) == 1
