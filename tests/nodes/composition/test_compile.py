"""ComfyUI's TorchCompileModel node. backend="eager" traces as Inductor would, in seconds."""

import pytest
import torch

from ..leftovers import left_behind
from ..sampling import OVERRIDE, sparse_config
from .beside import ORDERS, covers
from .compiling import compiled, compiled_without_guards, graphs

pytestmark = [covers("TorchCompileModel"), pytest.mark.usefixtures("fresh_compiler")]

STEPS = 4
CONFIG = {"warmup_steps": 2}


# in either order PSA and the node end in the same places
@pytest.mark.parametrize(
    ("compiling", "order"), [(compiled, ORDERS[0]), (compiled_without_guards, ORDERS[1])]
)
def test_the_picture_is_the_one_without_compiling(bench, order, compiling):
    """Warm-up, then sparse; then another configuration, which finds the first one's graphs: what
    a step decides is not frozen."""
    traced = []

    def previous(func, *args, **kwargs):
        traced.append(torch.compiler.is_compiling())
        return func(*args, **kwargs)

    model = bench.model.clone()
    model.model_options["transformer_options"][OVERRIDE] = previous

    def build(config):
        if order == "PSA, then other node":
            return compiling(bench.patch(config, model=model))
        return bench.patch(config, model=compiling(model))

    for config in (sparse_config(**CONFIG), sparse_config(block_n=64, tail=64, warmup_steps=1)):
        eager = bench.sample(bench.patch(config), steps=STEPS)
        expected = bench.report
        out = bench.sample(build(config), steps=STEPS)
        assert torch.equal(out, eager)
        for key in ("calls", "density", "per_level", "plan"):
            assert bench.report[key] == expected[key]
    assert graphs() > 0 and not left_behind()  # graphs keep no run alive
    # an override that is traced freezes what it decides into the graph
    assert traced and not any(traced)


def test_a_lora_that_is_changed_between_two_runs(bench, lora):
    """The graphs stay, the weights change; nothing of the run before may show."""
    config = sparse_config(**CONFIG)
    results = []
    for node in (lora(1.0), lora(0.5), lora(1.0)):
        eager = bench.sample(bench.patch(config, model=node(bench.model)), steps=STEPS)
        model = compiled(node(bench.patch(config)))
        results.append(bench.sample(model, steps=STEPS))
        assert torch.equal(results[-1], eager)
    assert torch.equal(results[0], results[-1]) and not torch.equal(results[0], results[1])


def test_graphs_of_a_run_without_psa_do_not_serve_one_with_it(bench):
    """Newer compile nodes guard nothing of the transformer options, so not the override either."""
    plain = bench.sample(compiled_without_guards(bench.model), steps=STEPS)
    before = graphs()
    config = sparse_config(**CONFIG)
    eager = bench.sample(bench.patch(config), steps=STEPS)
    model = compiled_without_guards(bench.patch(config))
    assert torch.equal(bench.sample(model, steps=STEPS), eager)
    assert bench.report["calls"]["sparse"] == 4
    assert graphs() > before
    assert torch.equal(bench.sample(compiled_without_guards(bench.model), steps=STEPS), plain)
    assert torch.is_autocast_cache_enabled()
