"""ComfyUI's TorchCompileModel node. backend="eager" traces as Inductor would, in seconds."""

import pytest
import torch

from ..leftovers import left_behind
from ..sampling import OVERRIDE, Spy, sparse_config
from .beside import ORDERS, check_beside, covers, in_both_orders, together
from .compiling import compiled, compiled_without_guards, forget, graphs

pytestmark = covers("TorchCompileModel")

# Both orders where the picture is compared; in either PSA and the node end in the same places, so
# the others, which compile for seconds, have one of them.
STEPS = 4
CONFIG = {"warmup_steps": 2}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    forget()
    yield
    forget()


@in_both_orders
def test_the_picture_is_the_one_without_compiling(bench, order):
    check_beside(bench, compiled, order, sparse=2 * STEPS, changes=False, steps=STEPS)
    assert graphs() > 0


@in_both_orders
@pytest.mark.parametrize("compiling", [compiled, compiled_without_guards])
def test_what_a_step_decides_is_not_frozen(bench, order, compiling):
    """Warm-up, then sparse; then another configuration, which finds the first one's graphs."""
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
        # a second run, with a spy that must see the same calls
        spy = Spy()
        bench.sample(spy.on(build(config)), steps=STEPS)
        assert len(spy.sparse) == expected["calls"]["sparse"]
    assert graphs() > 0
    # an override that is traced freezes what it decides into the graph
    assert traced and not any(traced)


@pytest.mark.parametrize("order", ORDERS[:1])
def test_no_step_compiles_anew(bench, order):
    """Graphs are made while the first run lasts; those after it, 20 steps, find all they need."""
    model = together(bench, compiled, order, sparse_config(**CONFIG))
    bench.sample(model, steps=STEPS)
    first = graphs()
    for seed in range(5):
        bench.sample(model, steps=STEPS, seed=seed)
    assert graphs() == first


@pytest.mark.parametrize("order", ORDERS[1:])
def test_a_lora_that_is_changed_between_two_runs(bench, lora, order):
    """The graphs stay, the weights change; nothing of the run before may show."""
    config = sparse_config(**CONFIG)
    results = []
    for node in (lora(1.0), lora(0.5), lora(1.0, seed=1), lora(0.0), lora(1.0)):
        eager = bench.sample(bench.patch(config, model=node(bench.model)), steps=STEPS)
        model = together(bench, lambda model, node=node: compiled(node(model)), order, config)
        results.append(bench.sample(model, steps=STEPS))
        assert torch.equal(results[-1], eager)
    assert torch.equal(results[0], results[-1]) and not torch.equal(results[0], results[1])


@pytest.mark.parametrize("order", ORDERS[:1])
def test_compiled_graphs_keep_no_run_alive(bench, order):
    model = together(bench, compiled, order, sparse_config(rearrange_method="SemanticAware"))
    bench.sample(model, steps=STEPS)
    assert graphs() > 0
    assert not left_behind()


@pytest.mark.parametrize("order", ORDERS[1:])
def test_graphs_of_a_run_without_psa_do_not_serve_one_with_it(bench, order):
    """Newer compile nodes guard nothing of the transformer options, so not the override either."""
    plain = bench.sample(compiled_without_guards(bench.model), steps=STEPS)
    before = graphs()
    config = sparse_config(**CONFIG)
    eager = bench.sample(bench.patch(config), steps=STEPS)
    model = together(bench, compiled_without_guards, order, config)
    assert torch.equal(bench.sample(model, steps=STEPS), eager)
    assert bench.report["calls"]["sparse"] == 4
    assert graphs() > before
    assert torch.equal(bench.sample(compiled_without_guards(bench.model), steps=STEPS), plain)
    assert torch.is_autocast_cache_enabled()
