"""The attention as one operator of torch.compile."""

import pytest
import torch

from psa_kernels import PSAAttention, PSAConfig, compiled, psa_attention

CONFIG = PSAConfig(rearrange_method="Gilbert", tail=32, second_moment=True)
GRID = (3, 10, 10)


def tensors():
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(1, 2, 300, 16, generator=rng) for _ in range(3)]


def test_the_module_is_compiled_without_a_break():
    psa = PSAAttention(CONFIG)

    def layer(q, k, v):
        return psa(q * 2, k, v, grid=GRID) + 1

    q, k, v = tensors()
    found = torch.compile(layer, fullgraph=True, backend="aot_eager")(q, k, v)
    assert torch.equal(found, layer(q, k, v))


@pytest.mark.parametrize("config", [CONFIG, CONFIG.replace(rearrange_method="SemanticAware")])
def test_the_function_breaks_the_graph_and_runs(config):
    def layer(q, k, v):
        return psa_attention(q * 2, k, v, grid=GRID, config=config) + 1

    q, k, v = tensors()
    assert torch.equal(torch.compile(layer, backend="eager")(q, k, v), layer(q, k, v))


@pytest.mark.skipif(not hasattr(torch.Tag, "cudagraph_unsafe"), reason="this torch has no such tag")
def test_no_cuda_graph_of_the_compiler_takes_the_operator():
    """It would hold the token orders that calls share, and fail or read what replaced them."""
    assert torch.Tag.cudagraph_unsafe in compiled.attention._opoverload.tags


def test_the_operator_keeps_its_promises():
    q, k, v = tensors()
    given = (compiled.described(CONFIG), list(GRID), [0, 0], False, 0.25)
    torch.library.opcheck(compiled.attention, (q, k, v, *given))


def test_a_configuration_survives_being_described():
    for config in (
        CONFIG, PSAConfig(), PSAConfig(mask_ratios={1: (0, 0.5), 0: (0.5, 1)}),
        CONFIG.replace(grouping="similar", refresh=7),
    ):  # fmt: skip
        assert compiled.parsed(compiled.described(config)) == config
