"""Reading attention calls: each way in which ComfyUI 0.33's models make them, and junk.

tests/nodes/layouts runs the models themselves, those of them that the ComfyUI under test has.
"""

import inspect
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from psa_pack.nodes.patching.attention_call import AttentionCall

RANDOM = torch.Generator().manual_seed(0)
BY_HEADS_FIRST = {"skip_reshape": True}


def numbers(*shape):
    return torch.randn(shape, generator=RANDOM)


def tokens(length=9):
    """[B, L, H * D]: two heads of eight, as in all that follow"""
    return numbers(2, length, 16)


def apart():
    """[B, L, H, D]"""
    return numbers(2, 9, 2, 8)


def heads():
    """[B, H, L, D]"""
    return numbers(2, 2, 9, 8)


def view(n=2):
    """[B, H, L, D] of a tensor by tokens"""
    return numbers(2, 9, n, 8).transpose(1, 2)


def zeros(*shape, **options):
    return torch.zeros(shape, **options)


# (arguments by position, by name); which models make such calls
CALLS = {
    "Wan, CogVideoX": ((tokens(), tokens(), tokens()), {"heads": 2}),
    "Wan's image": (
        (tokens(), tokens(5), tokens(5)), {"heads": 2, "low_precision_attention": False},
    ),
    "HiDream": ((tokens(), tokens(), tokens(), 2), {}),
    "LTX": ((tokens(), tokens(5), tokens(5), 2), {"attn_precision": None}),
    "LTX, padded text": (
        (tokens(), tokens(5), tokens(5), 2), {"attn_precision": None, "mask": zeros(1, 1, 1, 5)},
    ),
    "SD 3.5": ((tokens(), tokens(), apart()), {"heads": 2}),
    "SD 3.5, q, k and v in one": ((tokens(), tokens(), numbers(2, 9, 6, 8)[:, :, 4:]),
                                  {"heads": 2}),
    "Mochi, Cosmos, AuraFlow": ((view(), view(), view(), 2), BY_HEADS_FIRST),
    "Kandinsky": ((view(), view(), view()), {"heads": 2, **BY_HEADS_FIRST}),
    "Lumina": ((view(), view(), view(), 2, None), BY_HEADS_FIRST),
    "OmniGen, Boogu": (
        (view(), view(1), view(1), 2, None), {"enable_gqa": True, **BY_HEADS_FIRST},
    ),
    "Hunyuan's padded text": (
        (view(), view(), view(), 2), {"mask": zeros(1, 1, 9, 9), **BY_HEADS_FIRST},
    ),
    "Hunyuan, Flux": ((heads(), heads(), view(), 2), {"mask": None, **BY_HEADS_FIRST}),
    "Hunyuan, padded text": (
        (heads(), heads(), view(), 2), {"mask": zeros(1, 1, 9), **BY_HEADS_FIRST},
    ),
    "Qwen-Image": ((heads(), heads(), heads(), 2, None), BY_HEADS_FIRST),
    "Qwen-Image, padded text": ((heads(), heads(), heads(), 2, zeros(1, 1, 9)), BY_HEADS_FIRST),
    "PixelDiT": (
        (heads(), heads(), heads(), 2), {"skip_output_reshape": True, **BY_HEADS_FIRST},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_a_call_is_read_and_served_as_comfyui_does(comfy_inproc, case):
    from comfy.ldm.modules.attention import attention_pytorch

    args, options = CALLS[case]
    kwargs = {**options, "_inside_attn_wrapper": True, "transformer_options": {}}
    read = AttentionCall.read(args, kwargs)
    assert (read.q is args[0], read.k is args[1], read.v is args[2]) == (True, True, True)
    heads_first = options.get("skip_reshape", False)
    axis = 2 if heads_first else 1
    assert (read.heads, read.heads_first) == (2, heads_first)
    assert read.tokens == (args[0].shape[axis], args[1].shape[axis])
    masked = "padded" in case
    dense = {"Wan's image": "model asks for full precision"}
    assert read.unsupported() == ("masked attention" if masked else dense.get(case))

    q, k, v = read.split_heads()
    # views of the caller's tensors: nothing is copied
    for part, tensor in zip((q, k, v), args, strict=False):
        assert part.data_ptr() == tensor.data_ptr() and part.shape[-1] == read.head_dim == 8
    assert q.shape[1] == 2 and k.shape[1] == v.shape[1] == (1 if "enable_gqa" in options else 2)
    expected = attention_pytorch.__wrapped__(*args, **kwargs)
    assert read.join_heads(q).shape == expected.shape
    if not masked:
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        # the same kernel on the same numbers; only a contiguous copy may lie between
        assert torch.allclose(read.join_heads(out), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("published", "block", "grid"),
    [
        ({}, None, None),
        ({"block_index": 3, "block_type": "double", "grid_sizes": [3, 4, 6]}, 3, (3, 4, 6)),
        # single-stream blocks are numbered from 0 again, behind the double-stream ones
        ({"block_index": 3, "block_type": "single", "img_slice": [7, 79]}, None, None),
    ],
)
def test_what_the_model_says_of_a_call_is_read(published, block, grid):
    options = {"heads": 2, "transformer_options": published}
    read = AttentionCall.read((tokens(), tokens(), tokens()), options)
    assert (read.block_index(), read.grid_sizes()) == (block, grid)


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"scale": 0.1}, None),
        ({"attn_precision": torch.float32}, None),
        ({"preferred_attention": "sage"}, None),
        ({"low_precision_attention": True}, None),
        ({"low_precision_attention": False}, "model asks for full precision"),
        ({"enable_gqa": True}, None),
        ({"enable_gqa": False}, None),
        ({"mask": torch.zeros(1, 5)}, "masked attention"),
        ({"softcap": 30.0}, "unknown option softcap"),
        ({"softcap": None}, None),
    ],
)
def test_what_psa_cannot_give_is_named(keywords, reason):
    x = torch.randn(1, 5, 16)
    read = AttentionCall.read((x, x, x, 2), keywords)
    assert read.unsupported() == reason
    assert read.scale == keywords.get("scale")


Q = zeros(2, 4, 6, 8)
HALF = zeros(2, 4, 6, 8, dtype=torch.float16)
WHOLE = zeros(2, 4, 6, 8, dtype=torch.int32)
WIDE, LARGER = zeros(2, 4, 6, 12), zeros(3, 4, 6, 8)
ODD = {
    "keys in half precision": ((Q, HALF, Q), "mixed dtypes"),
    "whole numbers": ((WHOLE, WHOLE, WHOLE), "numbers that are not floating-point"),
    "keys elsewhere": ((Q, zeros(2, 4, 6, 8, device="meta"), Q), "tensors on several devices"),
    "wide values": ((Q, Q, WIDE), "values of another size than keys"),
    "values of other tokens": ((Q, Q, zeros(2, 4, 5, 8)), "values of another size than keys"),
    "wide keys": ((Q, WIDE, WIDE), "keys of another size than queries"),
    "a larger batch of keys": ((Q, LARGER, LARGER), "batches of several sizes"),
    "one query for all keys": ((Q[:1], Q, Q), "batches of several sizes"),
    "keys for the whole batch": ((Q, Q[:1], Q), None),
    "both for the whole batch": ((Q, Q[:1], Q[:1]), None),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_tensors_that_do_not_go_together_are_named(case):
    tensors, reason = ODD[case]
    read = AttentionCall.read((*tensors, 4), {"skip_reshape": True})
    assert read.unsupported() == reason


def test_by_tokens_nothing_is_shared_by_a_batch():
    """ComfyUI would read one k of 6 tokens as two of 3."""
    x = torch.zeros(2, 6, 32)
    assert AttentionCall.read((x, x[:1], x[:1], 4), {}).unsupported() == "batches of several sizes"
    wide = torch.zeros(2, 6, 48)
    reason = AttentionCall.read((x, x, wide, 4), {}).unsupported()
    assert reason == "values of another size than keys"


@given(
    sizes=st.tuples(*[
        st.tuples(
            st.sampled_from([1, 1, 2, 3]), st.sampled_from([1, 2, 4]), st.sampled_from([5, 5, 6]),
            st.sampled_from([8, 8, 16]),
        )
    ] * 3),
    dtypes=st.tuples(*[
        st.sampled_from([torch.float32] * 6 + [torch.float16, torch.float64, torch.int64])
    ] * 3),
)  # fmt: skip
def test_what_is_not_named_can_be_served(sizes, dtypes):
    from psa_kernels import PSAConfig, psa_attention

    tensors = [torch.ones(size, dtype=dtype) for size, dtype in zip(sizes, dtypes, strict=True)]
    heads = sizes[0][1]
    read = AttentionCall.read((*tensors, heads), {"skip_reshape": True, "enable_gqa": True})
    q, k, v = read.split_heads()
    if read.unsupported() is None:
        out = psa_attention(q, k, v, config=PSAConfig(use_rearrange=False))
        assert out.shape == tensors[0].shape and torch.allclose(out, torch.ones_like(out))
    else:
        with pytest.raises(ValueError):
            psa_attention(q, k, v, config=PSAConfig(use_rearrange=False))


UNEVEN, FEWER = "key heads that do not divide the query heads", "fewer key heads without enable_gqa"
UNLIKE = "values of another size than keys"
# (heads of q, of k, of v), whether the model asks to share them, and why PSA does not
SHARED = [
    ((4, 4, 4), True, None), ((4, 2, 2), True, None), ((4, 1, 1), True, None),
    ((4, 3, 3), True, UNEVEN), ((4, 2, 1), True, UNLIKE), ((4, 1, 2), True, UNLIKE),
    ((2, 4, 4), True, UNEVEN),
    ((4, 4, 4), False, None), ((4, 2, 2), False, FEWER), ((4, 1, 1), False, FEWER),
    ((4, 4, 1), False, UNLIKE), ((4, 1, 4), False, UNLIKE), ((2, 4, 4), False, UNEVEN),
]  # fmt: skip


@pytest.mark.parametrize("by_heads", [False, True])
@pytest.mark.parametrize(("heads", "asked", "reason"), SHARED)
def test_heads_of_k_and_v_are_shared_where_the_model_asks(heads, asked, reason, by_heads):
    tensors = qkv(heads, by_heads)
    options = {"skip_reshape": by_heads} | ({"enable_gqa": True} if asked else {})
    read = AttentionCall.read((*tensors, heads[0]), options)
    assert read.tokens == (48, 48) and read.unsupported() == reason
    assert [x.shape for x in read.split_heads()] == [(2, n, 48, 16) for n in heads]
    assert read.shape().head_dim == 16


@pytest.mark.parametrize("by_heads", [False, True])
@pytest.mark.parametrize("key_heads", [1, 2])
@pytest.mark.parametrize(
    "name", ["attention_basic", "attention_split", "attention_sub_quad", "attention_pytorch"]
)
def test_shared_heads_give_what_comfyuis_functions_give(comfy_inproc, name, key_heads, by_heads):
    from comfy.ldm.modules import attention

    from psa_pack.psa_kernels import psa_attention

    from .sampling import dense_level_config

    shares(attention)
    tensors = qkv((4, key_heads, key_heads), by_heads)
    options = {"skip_reshape": by_heads, "enable_gqa": True, "scale": 0.3}
    expected = getattr(attention, name)(*tensors, 4, **options)
    read = AttentionCall.read((*tensors, 4), options)
    q, k, v = read.split_heads()
    out = psa_attention(q, k, v, config=dense_level_config(), grid=(3, 4, 4), scale=read.scale)
    assert torch.allclose(read.join_heads(out), expected, atol=1e-5)


def test_without_being_asked_comfyuis_functions_do_not_agree(comfy_inproc):
    """Which is why PSA leaves such a call to the one that is chosen."""
    from comfy.ldm.modules import attention

    tensors = qkv((4, 1, 1), True)
    one = attention.attention_pytorch(*tensors, 4, skip_reshape=True)
    other = attention.attention_sub_quad(*tensors, 4, skip_reshape=True)
    assert (one - other).abs().max() > 0.1
    with pytest.raises(RuntimeError):
        attention.attention_pytorch(*qkv((4, 2, 2), True), 4, skip_reshape=True)


def shares(attention):
    """Skips on a ComfyUI whose attention functions know nothing of `enable_gqa`."""
    if "enable_gqa" not in inspect.getsource(attention):
        pytest.skip("this ComfyUI's attention functions share no heads")


def qkv(heads, by_heads):
    """q, k and v of 48 tokens with so many heads of 16."""
    random_numbers = torch.Generator().manual_seed(0)
    tensors = [torch.randn(2, n, 48, 16, generator=random_numbers) for n in heads]
    return tensors if by_heads else [x.transpose(1, 2).flatten(2) for x in tensors]


X = torch.randn(1, 6, 16)
BY_HEADS = torch.randn(1, 2, 6, 8)
UNREADABLE = {
    "nothing": ((), {}),
    "two tensors": ((X, X), {"heads": 2}),
    "no heads": ((X, X, X), {}),
    "heads of another type": ((X, X, X, 2.0), {}),
    "heads that are a switch": ((X, X, X, True), {}),
    "no head at all": ((X, X, X, 0), {}),
    "heads that do not divide": ((X, X, X, 3), {}),
    "v by heads of another size": ((X, X, torch.randn(1, 6, 4, 4), 2), {}),
    "k of no whole head": ((X, X[..., :12], X[..., :12], 2), {}),
    "a container instead of q": (([X], X, X, 2), {}),
    "another shape than announced": ((BY_HEADS, BY_HEADS, BY_HEADS, 2), {}),
    "announced by heads": ((X, X, X, 2), {"skip_reshape": True}),
    "other heads than announced": ((BY_HEADS, BY_HEADS, BY_HEADS, 3), {"skip_reshape": True}),
    "a ninth position": ((X, X, X, 2, None, None, False, False, "new"), {}),
    "two dimensions": ((X[0], X[0], X[0], 2), {}),
    "no queries": ((X[:, :0], X, X, 2), {}),
    "no channels of keys": ((X, X[..., :0], X[..., :0], 2), {}),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_unknown_signature_is_not_guessed_at(case):
    args, kwargs = UNREADABLE[case]
    assert AttentionCall.read(args, kwargs) is None


@pytest.mark.parametrize("by_heads", [False, True])
def test_nothing_to_attend_to_is_read(by_heads):
    """Cross-attention to images that are not given."""
    q = BY_HEADS if by_heads else X
    none = q[..., :0, :]
    call = AttentionCall.read((q, none, none, 2), {"skip_reshape": by_heads})
    assert call.tokens == (6, 0)
    assert [x.shape[2] for x in call.split_heads()] == [6, 0, 0]


def test_junk_is_read_or_refused_and_never_an_error():
    rng = random.Random(0)
    junk = [
        None, 0, -1, 2, True, 1.5, float("nan"), "q", b"", [], [X], {}, {"heads": 2}, X, X[0],
        BY_HEADS, X.half(), torch.empty(0), torch.empty(1, 0, 16), torch.ones(1, 6, 16).bool(),
        object(), AttentionCall, lambda: None,
    ]  # fmt: skip
    names = ["q", "k", "v", "heads", "mask", "skip_reshape", "skip_output_reshape", "scale", "x"]
    read = []
    for _ in range(5000):
        good = rng.choice([(X, X, X, 2), (BY_HEADS, BY_HEADS, BY_HEADS, 2, None, None, True)])
        args = tuple(rng.choice(junk) if rng.random() < 0.1 else x for x in good)
        args += tuple(rng.choice(junk) for _ in range(rng.choice([0, 0, 0, 1, 5])))
        kwargs = {name: rng.choice(junk) for name in rng.sample(names, rng.choice([0, 0, 1, 4]))}
        options = rng.choice([None, {}, {"block_index": rng.choice(junk)}])
        options = options and {**options, "grid_sizes": rng.choice(junk)}
        call = AttentionCall.read(args, {**kwargs, "transformer_options": options})
        if call is not None:
            read.append(call)
            call.unsupported()
            call.block_index()
            call.grid_sizes()
            assert all(isinstance(x, int) for x in call.tokens)
            assert all(x.dim() == 4 for x in call.split_heads())
    assert 1000 < len(read) < 4000
