"""PSA in models whose memory or GPU work ComfyUI records and repeats."""

import functools
import inspect

import pytest
import torch

from psa_pack.tools.comfy_server import gpu_with_kernels

from . import comfy_compiler
from .sampling import OVERRIDE, interrupt_at, sparse_config, transformer_options

STEPS, BLOCKS = 5, 2
# kept groups and plans, orders by content, both kinds of dense steps
CONFIGS = {
    "similar": {"grouping": "similar", "refresh": 2},
    "clusters": {"rearrange_method": "SemanticAware"},
    "raster": {"use_rearrange": False, "grouping": "similar"},
}


@pytest.fixture
def compiler(monkeypatch):
    return comfy_compiler.install(monkeypatch)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_pattern_repeats_over_steps_and_prompts(bench, compiler, name):
    config = sparse_config(warmup_steps=1, steps={"80-100%": "dense"}, **CONFIGS[name])
    patched = bench.patch(config)
    wanted = bench.sample(patched, steps=STEPS)
    with compiler.on(patched.model.diffusion_model):
        out = bench.sample(patched, steps=STEPS)
        again = bench.sample(patched, steps=STEPS)
    assert torch.equal(out, wanted)
    assert torch.equal(again, wanted)
    plan = bench.report["plan"]
    assert {"dense", "sparse"} == set(plan)
    assert bench.report["calls"]["sparse"] == BLOCKS * plan.count("sparse")
    assert len(compiler.patterns) == 2 * STEPS
    compiler.check()


def test_conditions_apart_and_a_report_afterwards(bench, compiler):
    """Two model calls a step, and what the report samples for its figures."""
    from psa_pack.nodes.recording.run_log import log_of
    from psa_pack.nodes.reporting.report import reports_of

    patched = bench.patch(sparse_config(warmup_steps=1, **CONFIGS["similar"]))
    options = {"steps": STEPS, "text_tokens": (16, 17)}
    wanted = bench.sample(patched, **options)
    with compiler.on(patched.model.diffusion_model):
        out = bench.sample(patched, **options)
        reports_of([log_of(patched)])
        assert torch.equal(bench.sample(patched, **options), out)
    assert torch.equal(out, wanted)
    assert len(compiler.patterns) == 2 * 2 * STEPS
    # two prompts of two lengths have two patterns, step by step the same
    two = compiler.patterns[:2]
    for i in (0, 1):
        compiler.patterns, every = compiler.patterns[i::2], compiler.patterns
        compiler.check(like=two[i])
        compiler.patterns = every


def test_an_interrupted_run_leaves_nothing_and_the_next_one_is_as_before(bench, compiler):
    import comfy.model_management

    patched = bench.patch(sparse_config(warmup_steps=1, **CONFIGS["similar"]))

    with compiler.on(patched.model.diffusion_model):
        wanted = bench.sample(patched, steps=STEPS)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            bench.sample(patched, steps=STEPS, callback=interrupt_at(2))
        compiler.cleanup_malloc_graph()
        assert torch.equal(bench.sample(patched, steps=STEPS), wanted)
    compiler.check()


def test_a_calibration(bench, compiler, tmp_path):
    """Its measured calls compute much more than a run's; probes are model calls of their own."""
    from psa_pack.nodes.calibration.journal import Journal
    from psa_pack.nodes.calibration.run import Effort, measure
    from psa_pack.nodes.preset_value import PresetValue

    config = sparse_config(warmup_steps=1)
    with compiler.on(bench.model.model.diffusion_model):
        measure(
            bench.model, PresetValue(config, name="base"), Effort(2, 1),
            lambda model: bench.sample(model, steps=4), Journal(tmp_path, {}),
        )  # fmt: skip
    assert len(compiler.patterns) > 4
    compiler.check()


def test_a_step_that_fails_goes_on_dense_in_the_same_pattern(bench, compiler, failing):
    patched = bench.patch(sparse_config())
    failing(4, lambda: RuntimeError("injected"))
    with compiler.on(patched.model.diffusion_model):
        out = bench.sample(patched, steps=STEPS)
    assert torch.isfinite(out).all() and "injected" in bench.report["failure"]
    compiler.check()


@pytest.mark.parametrize("as_override", [False, True])
def test_attention_that_pauses_by_itself_ends_no_pause_of_ours(
    bench, compiler, monkeypatch, as_override
):
    """As comfy-kitchen's int8 does, which takes memory before its pause, in it, and after it."""
    import comfy.model_prefetch

    def pausing(func, q, *args, **kwargs):
        before = q + 1
        with comfy.model_prefetch.pause_malloc_graph():
            inside = q + 2
        return func(q + (inside - before - 1), *args, **kwargs)

    model = bench.model.clone()
    if as_override:
        model.model_options["transformer_options"][OVERRIDE] = pausing
    else:
        # the model's own attention, which ComfyUI's functions look up where they are defined
        import comfy.ldm.modules.attention as attention

        real = attention.optimized_attention
        around = functools.wraps(real)(functools.partial(pausing, real))
        monkeypatch.setattr("comfy.ldm.wan.model.optimized_attention", attention.wrap_attn(around))
    patched = bench.patch(sparse_config(warmup_steps=2, **CONFIGS["similar"]), model=model)
    wanted = bench.sample(patched, steps=STEPS)
    with compiler.on(patched.model.diffusion_model):
        out = bench.sample(patched, steps=STEPS)
    assert torch.equal(out, wanted)
    assert bench.report["failure"] is None and bench.report["calls"]["sparse"]
    assert len(compiler.patterns) == STEPS
    compiler.check()


def test_a_pause_of_another_interface_costs_no_render(bench, compiler, monkeypatch, caplog):
    import comfy.model_prefetch

    patched = bench.patch(sparse_config())
    wanted = bench.sample(patched, steps=2)

    def pause(device):
        raise AssertionError("it is called without one")

    monkeypatch.setattr(comfy.model_prefetch, "pause_malloc_graph", pause)
    assert torch.equal(bench.sample(patched, steps=2), wanted)
    assert "--disable-comfy-compiler" in caplog.text


def test_blocks_in_cuda_graphs_stay_dense_and_the_next_calls_have_none(bench, monkeypatch, caplog):
    """A model call that becomes a graph in the first step: its replays would not ask PSA."""
    import comfy.model_base

    from psa_pack.nodes.patching import override

    fetched = []
    apply_model = comfy.model_base.BaseModel._apply_model

    @functools.wraps(apply_model)
    def fetching(self, *args, **kwargs):
        """Newer versions set the option there, inside of PSA's wrapper."""
        transformer_options(args, kwargs)["prefetch_dynamic_vbars"] = True
        return apply_model(self, *args, **kwargs)

    def attention(func, *args, **kwargs):
        fetched.append(kwargs["transformer_options"]["prefetch_dynamic_vbars"])
        return func(*args, **kwargs)

    if "prefetch_dynamic_vbars" not in inspect.getsource(comfy.model_base):
        monkeypatch.setattr(comfy.model_base.BaseModel, "_apply_model", fetching)
    # all of the first step's calls: self- and cross-attention
    monkeypatch.setattr(override, "in_cuda_graph", lambda device: len(fetched) < 2 * BLOCKS)
    model = bench.model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = attention
    bench.sample(bench.patch(model=model), steps=3)
    calls = bench.report["calls"]
    assert calls["sparse"] == 2 * BLOCKS
    assert calls["dense"]["recorded as a CUDA graph"] == 2 * BLOCKS
    # cross-attention of the later steps
    assert fetched[2 * BLOCKS :] == [False] * (2 * BLOCKS)
    assert caplog.text.count("--disable-cuda-graphs") == 1


def test_kernels_are_compiled_before_the_model_is_entered(bench, compiler, monkeypatch):
    """The stand-in for a GPU runs the call and compiles nothing: what counts is that it runs."""
    from psa_engines.core import deciding
    from psa_pack.nodes.patching import compiling

    config = sparse_config(warmup_steps=2, blocks={1: {"tail": 16}}, **CONFIGS["similar"])
    lines = []
    monkeypatch.setattr(compiling, "compiles", lambda device: False)
    patched = bench.patch(config, on_progress=lines.append)
    wanted = bench.sample(patched, steps=STEPS)
    assert not [line for line in lines if "compiling" in line["text"]]
    ahead, served = [], []

    def spied(seen, attention):
        def call(q, k, v, **kwargs):
            seen.append(
                (
                    [(x.shape, x.stride(), x.dtype) for x in (q, k, v)],
                    kwargs["config"].tail,
                    kwargs["grid"],
                    kwargs["extra_tokens"],
                    kwargs["scale"],
                    bool(compiler.active),
                )
            )
            return attention(q, k, v, **kwargs)

        return call

    monkeypatch.setattr(compiling, "compiles", lambda device: True)
    monkeypatch.setattr(compiling, "_compiled", set())
    monkeypatch.setattr(compiling, "psa_attention", spied(ahead, compiling.psa_attention))
    monkeypatch.setattr(deciding, "psa_attention", spied(served, deciding.psa_attention))
    torch.manual_seed(7)
    with compiler.on(patched.model.diffusion_model):
        out = bench.sample(patched, steps=STEPS)
        drawn = torch.rand(1)
        assert torch.equal(bench.sample(patched, steps=STEPS), wanted)
    torch.manual_seed(7)
    bench.sample(patched, steps=STEPS)
    assert torch.equal(torch.rand(1), drawn)  # the sampler's random numbers are not touched
    assert torch.equal(out, wanted)
    compiler.check()
    # once for each kind of block, outside of the recording, like the calls that are served
    assert [one[:-1] for one in ahead] == [one[:-1] for one in served[:BLOCKS]]
    assert not any(one[-1] for one in ahead) and all(one[-1] for one in served[: 2 * BLOCKS])
    said = [line["text"] for line in lines if "compiling" in line["text"]]
    assert said == [f"step 3/{STEPS}, compiling kernels, {i} of 2" for i in (1, 2)]
    assert bench.report["calls"]["sparse"] == (STEPS - 2) * BLOCKS


def test_what_cannot_be_compiled_beforehand_costs_no_render(bench, monkeypatch, caplog):
    from psa_pack.nodes.patching import compiling

    patched = bench.patch(sparse_config(warmup_steps=1))
    wanted = bench.sample(patched, steps=3)

    def failing(*args, **kwargs):
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(compiling, "compiles", lambda device: True)
    monkeypatch.setattr(compiling, "_compiled", set())
    monkeypatch.setattr(compiling, "psa_attention", failing)
    assert torch.equal(bench.sample(patched, steps=3), wanted)
    assert bench.report["failure"] is None


@pytest.mark.skipif(not gpu_with_kernels(), reason="needs a GPU with kernels")
def test_no_sparse_call_waits_for_the_compiler(bench):
    bench.sample(bench.patch(sparse_config(warmup_steps=1, **CONFIGS["similar"])), steps=STEPS)
    assert bench.report["times"]["compile_calls"] == 0
