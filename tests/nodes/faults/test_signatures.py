"""A ComfyUI that calls us otherwise: what can still be understood is, the rest stays dense.

Each change is made in ComfyUI itself, for one test, and is one that its versions have made or may.
"""

import inspect

import pytest
import torch

from ..sampling import OVERRIDE, sparse_config

STEPS = 3
BLOCKS = 2
CALLS = STEPS * BLOCKS


@pytest.fixture
def plain(bench):
    return bench.sample(steps=STEPS)


def calls(bench):
    found = bench.report["calls"]
    return found["sparse"], {k: n for k, n in found["dense"].items() if k != "cross-attention"}


def attention(monkeypatch, call):
    """Wan's attention calls go through call(override, func, args, kwargs)."""
    import comfy.ldm.wan.model as wan
    from comfy.ldm.modules.attention import attention_pytorch

    func = inspect.unwrap(attention_pytorch)

    def optimized_attention(*args, transformer_options=None, **kwargs):
        override = (transformer_options or {}).get(OVERRIDE)
        kwargs["transformer_options"] = transformer_options
        if override is None:
            return func(*args, **kwargs)
        return call(override, func, args, kwargs)

    monkeypatch.setattr(wan, "optimized_attention", optimized_attention)


def new_keyword(value):
    def call(override, func, args, kwargs):
        def newer(*args, softcap=None, **kwargs):
            return func(*args, **kwargs)

        return override(newer, *args, softcap=value, **kwargs)

    return call


def more_positions(override, func, args, kwargs):
    heads = kwargs.pop("heads")

    def newer(q, k, v, heads, mask, precision, skip, skip_out, dropout, **kwargs):
        return func(q, k, v, heads, mask, precision, skip, skip_out, **kwargs)

    return override(newer, *args, heads, None, None, False, False, 0.0, **kwargs)


def heads_by_another_name(override, func, args, kwargs):
    heads = kwargs.pop("heads")

    def newer(*args, num_heads, **kwargs):
        return func(*args, heads=num_heads, **kwargs)

    return override(newer, *args, num_heads=heads, **kwargs)


def packed(override, func, args, kwargs):
    def newer(qkv, **kwargs):
        return func(*qkv, **kwargs)

    return override(newer, args, **kwargs)


def all_by_keyword(override, func, args, kwargs):
    return override(func, **dict(zip("qkv", args, strict=True)), **kwargs)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (new_keyword(30.0), "unknown option softcap"),
        (more_positions, "unknown call signature"),
        (heads_by_another_name, "unknown call signature"),
        (packed, "unknown call signature"),
        (new_keyword(None), None),
        (all_by_keyword, None),
    ],
)
def test_attention_called_otherwise(bench, plain, monkeypatch, change, reason):
    expected = bench.sample(bench.patch(), steps=STEPS)
    attention(monkeypatch, change)
    out = bench.sample(bench.patch(), steps=STEPS)
    if reason is None:
        assert torch.equal(out, expected)
        assert calls(bench) == (CALLS, {})
    else:
        assert torch.equal(out, plain)
        # where nothing can be read, cross-attention cannot be told either
        times = CALLS if reason.startswith("unknown option") else 2 * CALLS
        assert calls(bench) == (0, {reason: times})
    assert bench.report["failure"] is None


def model_call(monkeypatch, change):
    """`change(self, x, t, c_crossattn, options, rest)` -> (function, args, kwargs) that wrappers
    of a model call see; the function gets back to the real one."""
    import comfy.model_base
    from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers

    def apply_model(
        self, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **rest
    ):
        function, args, kwargs = change(self, x, t, c_crossattn, transformer_options, rest)
        wrappers = get_all_wrappers(WrappersMP.APPLY_MODEL, transformer_options)
        return WrapperExecutor.new_class_executor(function, self, wrappers).execute(*args, **kwargs)

    monkeypatch.setattr(comfy.model_base.BaseModel, "apply_model", apply_model)


def by_keyword(self, x, t, text, options, rest):
    named = {"x": x, "t": t, "c_crossattn": text, "transformer_options": options}
    return self._apply_model, (), {**named, **rest}


def in_another_order(self, x, t, text, options, rest):
    def newer(transformer_options, t, x, c_crossattn=None, **kwargs):
        return self._apply_model(
            x, t, None, c_crossattn, transformer_options=transformer_options, **kwargs
        )

    return newer, (options, t, x, text), rest


def without_sigmas(self, x, t, text, options, rest):
    options.pop("sigmas")
    return self._apply_model, (x, t, None, text, None, options), rest


@pytest.mark.parametrize("change", [by_keyword, in_another_order, without_sigmas])
def test_a_model_call_that_can_still_be_understood(bench, plain, monkeypatch, change):
    patched = bench.patch(sparse_config(warmup_steps=1, rearrange_method="SemanticAware"))
    expected = bench.sample(patched, steps=STEPS)
    report = bench.report
    model_call(monkeypatch, change)
    assert torch.equal(bench.sample(steps=STEPS), plain)
    assert torch.equal(bench.sample(patched, steps=STEPS), expected)
    assert bench.report["calls"] == report["calls"]
    assert [s["dense"] for s in bench.report["steps"]] == [s["dense"] for s in report["steps"]]
    assert bench.report["failure"] is None


def renamed(self, x, t, text, options, rest):
    def newer(latent, time, context, transformer_options, **kwargs):
        return self._apply_model(
            latent, time, None, context, transformer_options=transformer_options, **kwargs
        )

    return newer, (x, t, text, options), rest


def renamed_without_sigmas(self, *args):
    function, args, rest = renamed(self, *args)
    args[-1].pop("sigmas")
    return function, args, rest


def sigmas_of_another_kind(self, x, t, text, options, rest):
    options["sigmas"] = "low"
    return self._apply_model, (x, t, None, text, None, options), rest


@pytest.mark.parametrize("change", [renamed, renamed_without_sigmas, sigmas_of_another_kind])
def test_a_model_call_that_cannot_be_understood(bench, plain, monkeypatch, caplog, change):
    model_call(monkeypatch, change)
    assert torch.equal(bench.sample(steps=STEPS), plain)
    assert torch.equal(bench.sample(bench.patch(), steps=STEPS), plain)
    assert calls(bench) == (0, {"PSA stepped aside": CALLS})
    assert bench.report["failure"]
    assert sum("the render goes on" in r.getMessage() for r in caplog.records) == 1


def test_a_model_call_without_options_that_can_be_found(bench, plain, monkeypatch, caplog):
    class Options:
        def __init__(self, held):
            self.held = held

    def wrapped(self, x, t, text, options, rest):
        def newer(x, t, text, options, **kwargs):
            return self._apply_model(x, t, None, text, transformer_options=options.held, **kwargs)

        return newer, (x, t, text, Options(options)), rest

    model_call(monkeypatch, wrapped)
    assert torch.equal(bench.sample(bench.patch(), steps=STEPS), plain)
    assert bench.report["calls"] == {"sparse": 0, "dense": {}}
    assert any("PSA saw no attention call in this run" in r.getMessage() for r in caplog.records)


def run_call(bench, reshape, original):
    """Bench's model with a wrapper around a run that calls the next ones in another way."""
    import comfy.patcher_extension

    kind = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
    model = bench.model.clone()

    def wrapper(executor, *args, **kwargs):
        executor.original = original(executor.original)
        args, kwargs = reshape(args, kwargs)
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(kind, "newer", wrapper)
    return model


NAMES = ("noise", "latent_image", "sampler", "sigmas", "denoise_mask", "callback", "disable_pbar",
         "seed")  # fmt: skip


def test_a_run_whose_arguments_come_by_keyword(bench):
    expected = bench.sample(bench.patch(), steps=STEPS)

    def reshape(args, kwargs):
        return (), {**dict(zip(NAMES, args, strict=False)), **kwargs}

    model = run_call(bench, reshape, lambda original: original)
    assert torch.equal(bench.sample(bench.patch(model=model), steps=STEPS), expected)
    assert calls(bench) == (CALLS, {})


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_run_whose_schedule_cannot_be_found(bench, plain, caplog, kept):
    """Positions that are fewer, or something else in the schedule's place."""

    def reshape(args, kwargs):
        packed = dict(zip(NAMES, args, strict=False)) | kwargs
        return (packed, *(object() for _ in range(kept))), {}

    model = run_call(bench, reshape, lambda original: lambda packed, *rest: original(**packed))
    assert torch.equal(bench.sample(bench.patch(model=model), steps=STEPS), plain)
    # it was never planned: there is a message, and no report
    assert not bench.reports
    said = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(said) == 1 and "cannot plan this run and leaves it dense" in said[0]
