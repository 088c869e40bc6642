"""Patches that keep attention calls from PSA, put on in the ways that real packs use."""

import sys
import types
from unittest import mock

import pytest
import torch

from .sampling import sparse_config

# a cheaper kernel is named together with the plan, whose lines are counted here
pytestmark = pytest.mark.usefixtures("nothing_cheaper")

PACK = "/home/someone/ComfyUI/custom_nodes/ComfyUI-SomeCache.nodes"
SMALL = {"shape": (1, 16, 1, 10, 10), "steps": 4, "cfg": 1.0}
CODE = """
import comfy.ldm.wan.model as wan
import comfy.ldm.modules.attention as attention

own_forward = wan.WanModel.forward_orig
own_block = wan.WanAttentionBlock.forward
own_attention = attention.attention_pytorch

def cached_forward(self, *args, transformer_options={}, **kwargs):
    return own_forward(self, *args, **kwargs)

def polite_forward(self, *args, **kwargs):
    return own_forward(self, *args, **kwargs)

def lazy_block(self, *args, transformer_options={}, **kwargs):
    return own_block(self, *args, **kwargs)

def quick_attention(q, k, v, heads, *args, transformer_options=None, **kwargs):
    kwargs["_inside_attn_wrapper"] = True
    return own_attention(q, k, v, heads, *args, **kwargs)

class SlidingSelfAttention(wan.WanSelfAttention):
    def forward(self, x, freqs, transformer_options={}, **kwargs):
        return super().forward(x, freqs, **kwargs)
"""


@pytest.fixture
def pack(comfy_inproc):
    """The module of another pack, as ComfyUI would name it."""
    module = types.ModuleType(PACK)
    exec(CODE, vars(module))
    with mock.patch.dict(sys.modules, {PACK: module}):
        yield module


def run(bench, caplog, model):
    """(report, what was said by the end of the first step, and all that was)"""
    caplog.set_level("INFO", "PSA")
    caplog.clear()
    first = []
    bench.sample(model, callback=lambda i, *_: i or first.extend(caplog.records), **SMALL)

    def texts(records):
        return [record.getMessage() for record in records if record.name == "PSA"]

    return bench.report, texts(first), texts(caplog.records)


def patched(bench):
    return bench.patch(sparse_config(warmup_steps=2))


def for_each_call(bench, pack, name, **attributes):
    """TeaCache and its like: the model is another while it is called."""
    model = patched(bench)
    part = model.get_model_object(name)
    bound = {key: types.MethodType(function, part) for key, function in attributes.items()}

    def wrapper(apply_model, options):
        with mock.patch.multiple(part, **bound):
            return apply_model(options["input"], options["timestep"], **options["c"])

    model.set_model_unet_function_wrapper(wrapper)
    return model


def test_a_model_that_asks_is_promised_its_plan_when_it_does(bench, caplog):
    _, first, all_said = run(bench, caplog, patched(bench))
    plan = "4 steps: 1-2 dense (warm-up), 3-4 sparse"
    assert first == [f"PSA test: {plan}. Dense calls run PyTorch attention"]
    # on a GPU kernels are compiled in between, which is said
    all_said = [line for line in all_said if "compiling kernels" not in line]
    assert len(all_said) == 2 and "BYPASSED" not in all_said[-1]


def says_so(first, said, report, culprit):
    assert len(first) == 1 and first[0].startswith("PSA test: "), first
    assert culprit in first[0] and "nothing will be sparse" in first[0]
    # no plan by itself, which would be a promise; and no second warning in the end
    assert "custom_nodes/ComfyUI-SomeCache.nodes" in first[0] and "/home" not in first[0]
    assert len(said) == 2 and f"BYPASSED by {culprit}" in said[1]
    assert report["bypassed"].startswith(culprit) and report["calls"]["sparse"] == 0


def test_a_forward_that_is_replaced_for_each_call_is_named(bench, caplog, pack):
    model = for_each_call(bench, pack, "diffusion_model", forward_orig=pack.cached_forward)
    report, first, said = run(bench, caplog, model)
    says_so(first, said, report, "WanModel.forward_orig is cached_forward from")
    # and the same model without it is served
    assert run(bench, caplog, patched(bench))[0]["calls"]["sparse"] == 4


def test_a_forward_replaced_on_the_class_is_named(bench, caplog, pack, monkeypatch):
    import comfy.ldm.wan.model as wan

    monkeypatch.setattr(wan.WanModel, "forward_orig", pack.cached_forward)
    report, first, said = run(bench, caplog, patched(bench))
    says_so(first, said, report, "WanModel.forward_orig is cached_forward from")


@pytest.mark.usefixtures("no_forward_stays")
def test_blocks_whose_forward_is_replaced_are_named_once(bench, caplog, pack):
    model = patched(bench)
    for i, block in enumerate(model.get_model_object("diffusion_model").blocks):
        bound = types.MethodType(pack.lazy_block, block)
        model.add_object_patch(f"diffusion_model.blocks.{i}.forward", bound)
    report, first, said = run(bench, caplog, model)
    says_so(first, said, report, "WanAttentionBlock.forward is lazy_block from")
    assert first[0].count("lazy_block") == 1


def test_an_attention_function_that_is_replaced_is_named(bench, caplog, pack, monkeypatch):
    import comfy.ldm.wan.model as wan

    monkeypatch.setattr(wan, "optimized_attention", pack.quick_attention)
    report, first, said = run(bench, caplog, patched(bench))
    says_so(first, said, report, "comfy.ldm.wan.model.optimized_attention is quick_attention from")


def test_a_class_that_is_replaced_is_named_though_cross_attention_asks(bench, caplog, pack):
    model = patched(bench)
    for i in range(2):
        place = f"diffusion_model.blocks.{i}.self_attn.__class__"
        model.add_object_patch(place, pack.SlidingSelfAttention)
    report, first, said = run(bench, caplog, model)
    assert "none of the first model call's 2 attention calls" in first[0]
    says_so(first, said, report, "SlidingSelfAttention is from")


def test_what_is_replaced_and_asks_all_the_same_is_no_matter(bench, caplog, pack):
    model = for_each_call(bench, pack, "diffusion_model", forward_orig=pack.polite_forward)
    report, first, said = run(bench, caplog, model)
    assert report["bypassed"] is None and report["calls"]["sparse"] == 4
    assert len(first) == 1 and "3-4 sparse" in first[0] and len(said) == 2


def test_calls_that_come_later_take_the_warning_back(bench, caplog, pack):
    model, calls = patched(bench), []
    part = model.get_model_object("diffusion_model")

    def wrapper(apply_model, options):
        calls.append(1)
        forward = types.MethodType(pack.cached_forward, part)
        skipped = {"forward_orig": forward} if len(calls) == 1 else {}
        with mock.patch.multiple(part, **skipped) if skipped else mock.MagicMock():
            return apply_model(options["input"], options["timestep"], **options["c"])

    model.set_model_unet_function_wrapper(wrapper)
    report, first, said = run(bench, caplog, model)
    assert "nothing will be sparse" in first[0]
    assert "no longer applies" in said[1] and "3-4 sparse" in said[2]
    assert report["bypassed"] is None and report["calls"]["sparse"] == 4


def test_without_a_culprit_it_is_said_all_the_same(bench, caplog, monkeypatch, pack):
    """A model whose own attention asks for no override. A method that a library adds to every
    module, as transformers does, is no culprit."""
    import comfy.ldm.wan.model as wan

    own = wan.WanModel.forward_orig

    def forward(self, *args, transformer_options=None, **kwargs):
        return own(self, *args, **kwargs)

    forward.__module__ = "comfy.ldm.wan.model"
    monkeypatch.setattr(wan.WanModel, "forward_orig", forward)
    monkeypatch.setattr(torch.nn.Module, "added", pack.cached_forward, raising=False)
    report, first, said = run(bench, caplog, patched(bench))
    assert len(first) == 1 and "does not ask" in first[0] and "nothing will be sparse" in first[0]
    assert len(said) == 2 and report["bypassed"]


def of_a_pack(model):
    """The model is of a class that a pack brings, blocks included."""
    import comfy.ldm.wan.model as wan

    for kind, place in (
        (type("PacksBlock", (wan.WanAttentionBlock,), {"__module__": PACK}), "blocks.0."),
        (type("PacksModel", (wan.WanModel,), {"__module__": PACK}), ""),
    ):
        model.add_object_patch(f"diffusion_model.{place}__class__", kind)
    return model


def test_a_model_that_a_pack_brings_is_not_replaced_by_it(bench, caplog, pack, monkeypatch):
    from psa_pack.nodes.patching import around_call

    monkeypatch.setattr(around_call, "token_grid", lambda call: None)
    report, _, said = run(bench, caplog, of_a_pack(patched(bench)))
    assert "does not know the token layout of PacksModel" in said[0] and len(said) == 2
    assert report["bypassed"] is None and not any(PACK in line for line in said)


def test_a_model_that_a_pack_brings_and_that_does_not_ask(bench, caplog, pack):
    model = for_each_call(bench, pack, "diffusion_model", forward_orig=pack.cached_forward)
    of_a_pack(model)
    report, first, _ = run(bench, caplog, model)
    assert "nothing will be sparse; this model's own attention, or another patch" in first[-1]
    assert report["bypassed"] == "the model's own attention, or another patch"


def fails(options):
    raise RuntimeError("as by a call like none")


@pytest.mark.parametrize(
    ("name", "broken", "why"),
    [("_key", fails, "steps aside"), ("token_grid", lambda call: None, "token layout")],
)
def test_what_has_another_reason_blames_nobody(bench, caplog, pack, monkeypatch, name, broken, why):
    from psa_pack.nodes.patching import around_call

    monkeypatch.setattr(around_call, name, broken)
    model = for_each_call(bench, pack, "diffusion_model", forward_orig=pack.polite_forward)
    report, _, said = run(bench, caplog, model)
    assert why in said[0] and not any("replaced" in line for line in said)
    assert report["bypassed"] is None and (report["failure"] is None) == (name != "_key")


def test_quantised_layers_of_another_pack_are_no_culprits(bench, pack):
    import torch

    from psa_pack.nodes.patching.bypass import replaced

    class Linear(torch.nn.Linear):
        pass

    Linear.__module__ = PACK
    model = bench.model.get_model_object("diffusion_model")
    assert not list(replaced(model))
    with mock.patch.dict(model.blocks[0]._modules, {"extra": Linear(1, 1)}):
        assert not list(replaced(model))
