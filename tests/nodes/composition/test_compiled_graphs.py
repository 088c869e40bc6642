"""A compiled model has as many graphs, breaks and recompilations with PSA as without it."""

import shutil

import pytest
import torch

from ..sampling import OVERRIDE, SHAPE, sparse_config
from .beside import ORDERS, covers, together, with_override_over
from .compiling import (
    breaks,
    compiled,
    compiled_blocks,
    compiled_by,
    compiled_without_guards,
    forget,
    graphs,
)

pytestmark = [covers("TorchCompileModel"), pytest.mark.usefixtures("fresh_compiler")]

LARGER = (1, 16, 5, 16, 16)
# the whole tiny Wan takes Inductor over a minute on a CPU
ONE_BLOCK = ["diffusion_model.blocks.0"]


def counted(bench):
    return {name: bench.report[name] for name in ("calls", "density", "per_level", "plan")}


def blocks_compiled_without_guards(model):
    return compiled_blocks(model, compiled_without_guards)


def itself(bench, model):
    return model


def passed_on(bench, model):
    """An override that changes nothing: what another pack may have put there."""
    model = model.clone()
    options = model.model_options["transformer_options"]
    options[OVERRIDE] = lambda func, *args, **kwargs: func(*args, **kwargs)
    return model


def sparse(bench, model):
    return bench.patch(sparse_config(warmup_steps=1), model=model)


def over_another(bench, model):
    return sparse(bench, passed_on(bench, model))


def history(bench, lora, patch, compiling, steps=4, look=lambda model, out, sampling: None):
    """(graphs, breaks) after each of: steps, another prompt, another size, a changed LoRA.

    look  gets the model without compiling, what it gave compiled, and the arguments of the sampling
    """
    forget()
    seen = []
    for strength, sampling in (
        (1.0, {"steps": steps}),
        (1.0, {"seed": 2, "text_tokens": (24, 16)}),
        (1.0, {"shape": LARGER}),
        (0.5, {}),
        (0.5, {"shape": LARGER}),
    ):
        model, sampling = patch(bench, lora(strength)(bench.model)), {"steps": 2, **sampling}
        out = bench.sample(compiling(model), **sampling)
        seen.append((graphs(), breaks()))
        look(model, out, sampling)
    return seen


@pytest.mark.parametrize(
    ("compiling", "patch"),
    [(compiled, over_another), (compiled_without_guards, sparse), (compiled_blocks, sparse)],
)
def test_graphs_and_breaks_are_those_of_the_model_alone(bench, lora, compiling, patch):
    alone = history(bench, lora, itself, compiling)
    assert alone[0][0] > 0
    assert history(bench, lora, patch, compiling) == alone
    assert bench.report["failure"] is None


@pytest.mark.parametrize(
    ("compiling", "order"),
    [(compiled_blocks, ORDERS[0]), (blocks_compiled_without_guards, ORDERS[1])],
)
def test_one_code_for_all_blocks_knows_which_block_it_serves(bench, order, compiling):
    """One block stays dense: what each block did shows whether each was taken for itself."""
    config = sparse_config(warmup_steps=1)
    plain = bench.sample(bench.patch(config, dense_blocks=frozenset({1})))
    expected = counted(bench)
    assert expected["calls"]["dense"]["dense block"] and expected["calls"]["sparse"]
    model = together(bench, compiling, order, config, dense_blocks=frozenset({1}))
    assert torch.equal(bench.sample(model), plain)
    assert counted(bench) == expected and breaks() == 0


def test_what_was_compiled_at_one_size_is_right_at_another(bench):
    model = compiled(sparse(bench, bench.model))
    for shape in (SHAPE, LARGER, (1, 16, 4, 16, 16)):
        plain = bench.sample(sparse(bench, bench.model), shape=shape)
        expected = counted(bench)
        assert torch.equal(bench.sample(model, shape=shape), plain)
        assert counted(bench) == expected
    assert expected["calls"]["sparse"] and breaks() == 0


def test_an_override_over_psa_is_asked_though_the_graph_is_older(bench):
    """Not every compile node guards which override a call has."""
    config = sparse_config(warmup_steps=1)
    model = bench.patch(config, model=compiled_without_guards(bench.model))
    plain = bench.sample(model)
    expected = bench.report["calls"]
    seen = []
    assert torch.equal(bench.sample(with_override_over(model, seen)), plain)
    assert bench.report["calls"] == expected
    asked = expected["sparse"] + sum(expected["dense"].values())
    assert len(seen) == asked
    seen.clear()
    assert torch.equal(bench.sample(model), plain)
    assert bench.report["calls"] == expected and not seen


@pytest.mark.parametrize("part", ["_options_at_hand", "_as_promised"])
def test_a_fault_of_the_operators_own_leaves_the_render_dense(bench, monkeypatch, caplog, part):
    from psa_pack.nodes.patching import compiled_call

    real, calls = getattr(compiled_call, part), []

    def failing(*args):
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError("no room for a copy")
        return real(*args)

    plain = bench.sample(bench.model)
    monkeypatch.setattr(compiled_call, part, failing)
    assert torch.equal(bench.sample(compiled(bench.patch(sparse_config()))), plain)
    assert bench.report["failure"] == "MemoryError: no room for a copy"
    assert caplog.text.count("steps aside") == 1
    assert bench.report["calls"]["sparse"] == (part == "_as_promised")
    assert breaks() == 0


@pytest.mark.parametrize("fault", ["raised", "nan"])
def test_a_fault_in_a_compiled_model_leaves_the_rest_dense(bench, monkeypatch, fault):
    from psa_engines.core import deciding

    real, calls = deciding.psa_attention, []

    def attention(*args, **kwargs):
        calls.append(1)
        out, stats = real(*args, **kwargs)
        if len(calls) == 3:
            if fault == "raised":
                raise RuntimeError("no kernel for this GPU")
            out[..., 3, 5] = float("nan")
        return out, stats

    monkeypatch.setattr(deciding, "psa_attention", attention)
    config = sparse_config(warmup_steps=1)
    plain = bench.sample(bench.patch(config))
    expected = bench.report
    calls.clear()
    assert torch.equal(bench.sample(compiled(bench.patch(config))), plain)
    assert expected["failure"] and bench.report["failure"] == expected["failure"]
    assert bench.report["calls"] == expected["calls"]
    assert breaks() == 0


def test_an_interrupt_goes_through_the_operator(bench, monkeypatch):
    from comfy.model_management import InterruptProcessingException

    from psa_engines.core import deciding

    def attention(*args, **kwargs):
        raise InterruptProcessingException

    monkeypatch.setattr(deciding, "psa_attention", attention)
    with pytest.raises(InterruptProcessingException):
        bench.sample(compiled(bench.patch(sparse_config())))
    assert bench.report["ended"] == "interrupted"


def test_a_cuda_graph_is_not_replayed_over_psa(bench):
    """The other choice of ComfyUI's node: its graphs end before a call that PSA decides."""
    model = sparse(bench, bench.model)
    plain = bench.sample(model)
    out = bench.sample(compiled_by(model, "cudagraphs", keys=ONE_BLOCK))
    assert (out - plain).abs().max() <= 1e-4 * plain.abs().max()
    assert bench.report["calls"]["sparse"] and breaks() > 0


@pytest.mark.skipif(not shutil.which("g++"), reason="Inductor needs a C++ compiler")
def test_inductor_keeps_one_graph(bench):
    model = sparse(bench, bench.model)
    out = bench.sample(compiled_without_guards(model, "inductor", keys=ONE_BLOCK))
    assert (graphs(), breaks()) == (1, 0)
    near(bench, model, out, {})


# Fused by Inductor, values round differently, and sparse attention may choose another block.
# rel-L2; the dense picture is 0.1 away and more.
NEAR = 0.05


def near(bench, model, out, sampling):
    """`out`, of the compiled model, is what `model` gives, and as many calls were sparse."""
    found = counted(bench)
    assert bench.report["failure"] is None and found["calls"]["sparse"]
    plain = bench.sample(model, **sampling)
    assert (out - plain).norm() < NEAR * plain.norm()
    assert counted(bench) == found


def by_inductor(model):
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    return TorchCompileModel.execute(model, "inductor")[0]


@pytest.mark.gpu
def test_inductor_compiles_a_whole_model_as_often_as_without_psa(bench, lora):
    """ComfyUI's own node, on 20 steps, two prompts, two sizes, and a LoRA changed in between."""
    alone = history(bench, lora, itself, by_inductor, steps=20)
    assert alone[0][0] > 0

    def look(*found):
        near(bench, *found)

    assert history(bench, lora, sparse, by_inductor, steps=20, look=look) == alone


def reduced_overhead(model):
    """CUDA graphs, as packs offer them."""
    return compiled_by(model, "inductor", mode="reduce-overhead")


@pytest.mark.gpu
@pytest.mark.parametrize("patch", [sparse, over_another])
def test_a_cuda_graph_of_inductors_never_replays_a_decision(bench, patch):
    """Run after run of one compiled model: each step is dense or sparse as its plan says."""
    model = patch(bench, bench.model)
    replayed = reduced_overhead(model)
    for seed in range(4):
        out = bench.sample(replayed, steps=6, seed=seed)
        assert breaks() == 0
        near(bench, model, out, {"steps": 6, "seed": seed})
    # another plan finds the graphs of the first
    other = bench.patch(sparse_config(warmup_steps=3))
    out = bench.sample(reduced_overhead(other), steps=6)
    near(bench, other, out, {"steps": 6})
