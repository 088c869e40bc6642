"""Patches that change what attention is called with, or call it more often."""

import inspect
import types

import pytest
import torch

from .beside import ORDERS, check_beside, covers, in_both_orders

STEPS = 3
BLOCKS = 2


def attend(q, k, v, module, options):
    from comfy.ldm.modules.attention import optimized_attention

    return optimized_attention(q, k, v, heads=module.num_heads, transformer_options=options)


def guided_cross_attention(negative, scale):
    """As packs bring NAG to Wan: an object patch in place of each cross-attention's forward.

    Each condition's queries, a half of the batch, meet their own text and the negative one; what
    comes out is pushed away from the latter.
    """

    def forward(module, x, context, transformer_options=None, **_):
        halves = []
        for part, text in zip(x.split(1), context.split(1), strict=True):
            q = module.norm_q(module.q(part))
            found = []
            for words in (text, negative.to(text)):
                k, v = module.norm_k(module.k(words)), module.v(words)
                found.append(attend(q, k, v, module, transformer_options))
            halves.append(found[0] * scale - found[1] * (scale - 1))
        return module.o(torch.cat(halves))

    return in_every_block("cross_attn", forward)


def in_every_block(name, forward):
    """model -> a clone whose blocks' attention of that name has another forward."""

    def node(model):
        model = model.clone()
        for i, block in enumerate(model.model.diffusion_model.blocks):
            patched = types.MethodType(forward, getattr(block, name))
            model.add_object_patch(f"diffusion_model.blocks.{i}.{name}.forward", patched)
        return model

    return node


@covers("patched attention")
def test_guidance_in_cross_attention(bench):
    """Four calls for one, each of half the batch and of text of another length."""
    negative = torch.randn(1, 9, 256, generator=torch.Generator().manual_seed(7))
    node = guided_cross_attention(negative, 11.0)
    check_beside(bench, node, ORDERS[0], sparse=STEPS * BLOCKS, steps=STEPS)
    cross = bench.report["calls"]["dense"]["cross-attention"]
    assert cross == 4 * STEPS * BLOCKS


def twice_in_self_attention(weight):
    """A second self-attention over the video, with other values: counted as the video's too."""

    def forward(module, x, freqs, transformer_options=None, **_):
        shape = (*x.shape[:2], module.num_heads, module.head_dim)
        from comfy.ldm.flux.math import apply_rope1

        q, k = (
            apply_rope1(norm(linear(x)).view(shape), freqs).flatten(2)
            for norm, linear in ((module.norm_q, module.q), (module.norm_k, module.k))
        )
        v = module.v(x)
        first = attend(q, k, v, module, transformer_options)
        second = attend(k, q, v, module, transformer_options)
        return module.o(torch.lerp(first, second, weight))

    return in_every_block("self_attn", forward)


@covers("patched attention")
def test_self_attention_that_is_called_twice(bench):
    node = twice_in_self_attention(0.6)
    check_beside(bench, node, ORDERS[1], sparse=2 * STEPS * BLOCKS, steps=STEPS)


@covers("patched attention")
def test_patches_behind_attention(bench):
    """set_model_attn1_patch and set_model_attn2_patch, which Wan asks since 0.33."""
    self_attention = type(bench.model.model.diffusion_model.blocks[0].self_attn)
    if "attn1_patch" not in inspect.getsource(self_attention):
        pytest.skip("this ComfyUI's Wan has no such patches")
    seen = []

    def after_self(args):
        seen.append((args["x"].shape[1], args["q"].shape[1]))
        return args["x"] * 0.7

    def after_cross(args):
        return args["x"] * 1.1

    def node(model):
        model = model.clone()
        model.set_model_attn1_patch(after_self)
        model.set_model_attn2_patch(after_cross)
        return model

    check_beside(bench, node, ORDERS[0], sparse=STEPS * BLOCKS, steps=STEPS)
    assert set(seen) == {(192, 192)}


@covers("patched attention")
@in_both_orders
def test_a_replaced_block(bench, order):
    """set_model_patch_replace("dit", "double_block", i), which wraps a whole block."""

    def softer(args, extra):
        out = extra["original_block"](args)
        return {**out, "img": torch.lerp(args["img"], out["img"], 0.8)}

    def node(model):
        model = model.clone()
        model.set_model_patch_replace(softer, "dit", "double_block", 0)
        return model

    check_beside(bench, node, order, sparse=STEPS * BLOCKS, steps=STEPS)


@covers("patched attention")
@in_both_orders
def test_skip_layer_guidance_node(bench, order):
    """A third call of the model in a step, with a block left out: one sparse call more."""
    from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

    def node(model):
        return SkipLayerGuidanceDiT.execute(model, 2.0, 0.0, 1.0, "0", "", 0.0)[0]

    check_beside(bench, node, order, sparse=STEPS * (BLOCKS + 1), steps=STEPS)


@covers("NAGuidance")
def test_normalized_attention_guidance_node(bench):
    """ComfyUI's NAGuidance hangs on a patch that Wan does not ask: nothing may break."""
    nag = pytest.importorskip("comfy_extras.nodes_nag", reason="came after 0.3.75")

    def node(model):
        return nag.NAGuidance.execute(model, 5.0, 0.5, 1.5)[0]

    check_beside(bench, node, ORDERS[1], sparse=STEPS * BLOCKS, changes=False, steps=STEPS)
