"""The attention processor that asks PSA, wrapped around the model's own.

The model's own processor does all of its work: projections, norms, positions, LoRA. PSA only
answers its call of `scaled_dot_product_attention`, if it can; nothing global changes.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from ..core.attention_call import AttentionCall, gradients_asked
from ..core.deciding import Asked, AttentionCalls
from ..core.uncompiled import uncompiled

log = logging.getLogger("PSA")

_NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
NO_HOOK = "attention backend without a hook"


class Serving:
    """What the processors of one transformer ask.

    calls  those of the current call of the model, None outside of one
    seen   for a model with padded text: how many tokens the mask of this call leaves visible
    split  whether the call's tokens are split over GPUs
    """

    def __init__(self) -> None:
        self.calls: AttentionCalls | None = None
        self.seen: int | None = None
        self.split = False

    @uncompiled
    def attend(
        self, block: int, layer: Any, func: Callable, args: tuple, kwargs: dict
    ) -> torch.Tensor:
        if self.calls is None:
            return func(*args, **kwargs)
        return self.calls.attend(_Asked(block, layer, self.seen, func, args, kwargs))

    @uncompiled
    def without_psa(self, block: int, x: Any, reason: str) -> None:
        """Notes that PSA does not see the attention of a layer."""
        if self.calls is None:
            return
        run = self.calls.run
        device = x.device if isinstance(x, torch.Tensor) else None
        run.recorder.dense(self.calls.step, block, reason, None, device)
        if reason == NO_HOOK and run.first_time("backend"):
            log.warning(
                "PSA %s: the transformer's attention backend bypasses PSA, and all calls are "
                "dense. Fix: transformer.set_attention_backend(\"native\")", run.preset.label,
            )  # fmt: skip


class _Asked(Asked):
    def __init__(
        self, block: int, layer: Any, seen: int | None, func: Callable, args: tuple, kwargs: dict
    ):
        self.number, self.layer, self.seen = block, layer, seen
        self.func, self.args, self.kwargs = func, args, kwargs
        self.device = (args[0] if args else kwargs["query"]).device

    def dense(self) -> torch.Tensor:
        return self.func(*self.args, **self.kwargs)

    def read(self) -> AttentionCall | str:
        options = dict(zip(_NAMES, self.args, strict=False)) | self.kwargs
        q, k, v = (options.pop(name) for name in _NAMES[:3])
        if not (q.dim() == k.dim() == v.dim() == 4 and q.numel() and k.numel()):
            return "unknown call signature"
        mask, scale = options.pop("attn_mask", None), options.pop("scale", None)
        cannot = _other(q, k, v, options)
        if mask is not None and self.seen is not None and _hides_the_end(mask, q):
            return _PaddedCall(q, k, v, mask, self.seen, scale, self.number, cannot)
        cannot = cannot if mask is None else "masked attention"
        return AttentionCall(q, k, v, scale, self.number, cannot, mask is not None)


def _other(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, options: dict[str, Any]
) -> str | None:
    """Why the other options of a call keep PSA from serving it, or None."""
    if options.pop("is_causal", False):
        return "masked attention"
    if options.pop("dropout_p", 0.0):
        return "dropout"
    if q.shape[1] != k.shape[1] and not options.get("enable_gqa"):
        return "fewer key heads without enable_gqa"
    options.pop("enable_gqa", None)
    unknown = sorted(name for name, value in options.items() if value is not None)
    if unknown:
        return f"unknown option {unknown[0]}"
    return gradients_asked(q, k, v)


def _hides_the_end(mask: torch.Tensor, q: torch.Tensor) -> bool:
    """Whether the model made this mask for its padded text: `[B, 1, 1, L]` of bool."""
    return mask.dtype == torch.bool and mask.shape == (q.shape[0], 1, 1, q.shape[2])


class _PaddedCall(AttentionCall):
    """A call whose mask hides the last tokens from all queries: PSA serves the others.

    The rows of the hidden tokens are dense, as in the model.
    """

    def __init__(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, seen: int,
        scale: float | None, block: int, cannot: str | None,
    ):  # fmt: skip
        first = [x[:, :, :seen] for x in (q, k, v)]
        super().__init__(*first, scale, block, cannot)
        self._hidden = q[:, :, seen:], k, v, mask

    def join_heads(self, out: torch.Tensor) -> torch.Tensor:
        q, k, v, mask = self._hidden
        if not q.shape[2]:
            return out
        hidden = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
        return torch.cat([out, hidden], dim=2)


class _Answering(TorchFunctionMode):
    """Answers `scaled_dot_product_attention`, and nothing else, while one processor runs."""

    def __init__(self, serving: Serving, block: int, layer: Any):
        super().__init__()
        self.serving, self.block, self.layer, self.asked = serving, block, layer, False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            self.asked = True
            return self.serving.attend(self.block, self.layer, func, args, kwargs)
        return func(*args, **kwargs)


class PSAProcessor:
    """Wraps a processor. Attributes are read from that one and set on it.

    layer  identifies this attention layer among the model's
    """

    def __new__(cls, inner: Any, *_: Any) -> PSAProcessor:
        return super().__new__(_with_parameters_of(type(inner)))

    def __init__(self, inner: Any, serving: Serving, block: int, layer: Any):
        self.__dict__.update(inner=inner, serving=serving, block=block, layer=layer)

    def __call__(self, attention: Any, *args: Any, **kwargs: Any) -> Any:
        states = args[0] if args else kwargs.get("hidden_states")
        # split over GPUs, attention runs in an autograd function, where q asks for no gradient
        split = self.serving.split
        reason = gradients_asked(states, *attention.parameters()) if split else None
        if reason:
            self.serving.without_psa(self.block, states, reason)
            return self.inner(attention, *args, **kwargs)
        answering = _Answering(self.serving, self.block, self.layer)
        with answering:
            out = self.inner(attention, *args, **kwargs)
        if not answering.asked:  # FlashAttention, SageAttention, ...
            self.serving.without_psa(self.block, states, NO_HOOK)
        return out

    def __deepcopy__(self, memo: dict) -> Any:
        return copy.deepcopy(self.inner, memo)  # a copy of a model is without PSA

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)


@functools.cache
def _with_parameters_of(kind: type) -> type[PSAProcessor]:
    """A wrapper whose call has the same signature: diffusers drops the arguments that it does not
    find in it."""

    def call(self: PSAProcessor, *args: Any, **kwargs: Any) -> Any:
        return PSAProcessor.__call__(self, *args, **kwargs)

    call.__signature__ = inspect.signature(kind.__call__)
    return type("PSAProcessor", (PSAProcessor,), {"__call__": call})
