"""transformers' attention "psa": asks PSA during a run, and is the same as "sdpa" otherwise."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ..core.attention_call import AttentionCall, gradients_asked
from ..core.deciding import Asked, AttentionCalls
from ..core.uncompiled import uncompiled

NAME = "psa"
# options that are read here, and options that "sdpa" ignores
_UNDERSTOOD = {"dropout", "scaling", "is_causal", "sliding_window"}
_NEUTRAL = {
    "position_ids", "use_cache", "return_dict", "output_attentions", "output_hidden_states",
    "output_router_logits", "logits_to_keep",
}  # fmt: skip


class Serving:
    """What the layers of a language model ask.

    calls  those of the current call of the model, None outside of one
    dense  why the whole call is dense, if that is known beforehand
    video  whether the call holds a prompt's video
    """

    def __init__(self) -> None:
        self.calls: AttentionCalls | None = None
        self.dense: str | None = None
        self.video = False


# a copied model is not in here, and so has no PSA
_serving_of: WeakKeyDictionary[torch.nn.Module, Serving] = WeakKeyDictionary()


def serve(language_model: torch.nn.Module, serving: Serving | None) -> None:
    """Makes all its layers ask `serving`; None: none of them asks any more."""
    for module in language_model.modules():
        if serving is None:
            _serving_of.pop(module, None)
        elif getattr(module, "layer_idx", None) is not None:
            _serving_of[module] = serving


@uncompiled
def _attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, **options: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """q `[B, H, L, D]`, k and v with their own heads. Returns `[B, L, H, D]`, as "sdpa" does."""
    asked = _Asked(module, query, key, value, attention_mask, options)
    serving = _serving_of.get(module)
    if serving is None or serving.calls is None:
        return asked.dense(), None
    asked.of(serving)
    return serving.calls.attend(asked), None


class _Asked(Asked):
    def __init__(
        self, module: torch.nn.Module, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
        mask: torch.Tensor | None, options: dict[str, Any],
    ):  # fmt: skip
        self.module, self.q, self.k, self.v = module, q, k, v
        self.mask, self.options = mask, options

    def of(self, serving: Serving) -> None:
        self.serving, self.layer = serving, self.module.layer_idx
        if serving.video:
            self.device = self.q.device

    def dense(self) -> torch.Tensor:
        return sdpa_attention_forward(
            self.module, self.q, self.k, self.v, self.mask, **self.options
        )[0]

    def read(self) -> AttentionCall | str:
        if self.serving.video:
            self.block = self.layer
        if self.serving.dense is not None:
            return self.serving.dense
        if self.q.shape[2] != self.k.shape[2]:
            return "keys that are not the prompt's"  # a static cache has room for later tokens
        return _Call(
            self.q, self.k, self.v, self.options.get("scaling"), self.layer, self._cannot(),
            causal=True,
        )  # fmt: skip

    def _cannot(self) -> str | None:
        """Why PSA cannot serve such a call, or None."""
        is_causal = self.options.get("is_causal")
        if is_causal is None:
            is_causal = getattr(self.module, "is_causal", True)
        if not is_causal:
            return "not causal"
        if self.options.get("sliding_window") is not None:
            return "sliding window"
        if self.mask is not None:
            return "masked attention"
        if self.options.get("dropout"):
            return "dropout"
        for name in sorted(self.options.keys() - _UNDERSTOOD - _NEUTRAL):
            if self.options[name] is not None and self.options[name] is not False:
                return f"unknown option {name}"
        return gradients_asked(self.q, self.k, self.v)


class _Call(AttentionCall):
    def join_heads(self, out: torch.Tensor) -> torch.Tensor:
        return out.transpose(1, 2).contiguous()


AttentionInterface.register(NAME, _attend)
# otherwise "psa" would get no mask at all, not even one for padding
AttentionMaskInterface.register(NAME, sdpa_mask)
