"""One call of ComfyUI's attention, as an override receives it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch

from ...psa_engines.core.attention_call import odd_tensors
from ...psa_engines.core.recording.records import CallShape
from .option_names import PREFERRED

# Order of ComfyUI's attention functions; models pass the later ones by position or by keyword.
POSITIONS = (
    "q",
    "k",
    "v",
    "heads",
    "mask",
    "attn_precision",
    "skip_reshape",
    "skip_output_reshape",
)

# Keywords that change no result, or that are read here by name.
_UNDERSTOOD = {
    *POSITIONS,
    "transformer_options",
    "_inside_attn_wrapper",
    "low_precision_attention",
    PREFERRED,
    "scale",
    "enable_gqa",
}


@dataclass(frozen=True)
class AttentionCall:
    """q, k, v are `[B, L, heads * D]`, or `[B, heads, L, D]` with `skip_reshape`.

    k and v may be `[B, L, heads, D]` instead, as in SD 3, and may have fewer heads than q, each for
    a group of q's heads (ComfyUI's `enable_gqa`).
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    heads: int
    options: dict[str, Any]
    causal: ClassVar[bool] = False  # such calls have a mask

    @classmethod
    def read(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AttentionCall | None:
        """The call, or None where its signature is not one we know."""
        named = dict(zip(POSITIONS, args, strict=False)) | kwargs
        q, k, v, heads = [named.pop(name, None) for name in POSITIONS[:4]]
        if len(args) > len(POSITIONS) or type(heads) is not int or heads < 1:
            return None
        # written out: this runs in every attention call of the model
        tensor = torch.Tensor
        if not (isinstance(q, tensor) and isinstance(k, tensor) and isinstance(v, tensor)):
            return None
        if named.get("skip_reshape") is True:
            known = q.dim() == k.dim() == v.dim() == 4 and q.shape[1] == heads
        else:
            known = q.dim() == 3 and q.shape[-1] % heads == 0
            head_dim = known and q.shape[-1] // heads
            known = known and _has_heads_of(head_dim, k) and _has_heads_of(head_dim, v)
        if not (known and q.numel()):
            return None
        call = cls(q, k, v, heads, named)
        # cross-attention may have nothing to attend to, as to images that are not given
        return call if (k.numel() and v.numel()) or call.tokens[1] == 0 else None

    @cached_property
    def heads_first(self) -> bool:
        return self.options.get("skip_reshape") is True

    @cached_property
    def tokens(self) -> tuple[int, int]:
        """(queries, keys)"""
        axis = 2 if self.heads_first else 1
        return self.q.shape[axis], self.k.shape[axis]

    @cached_property
    def head_dim(self) -> int:
        return self.q.shape[-1] if self.heads_first else self.q.shape[-1] // self.heads

    @property
    def masked(self) -> bool:
        return self.options.get("mask") is not None

    def shape(self) -> CallShape:
        """What the time of such a call depends on."""
        queries, _ = self.tokens
        dtype, device = str(self.q.dtype).removeprefix("torch."), str(self.q.device)
        return CallShape(self.q.shape[0], self.heads, queries, self.head_dim, dtype, device)

    def unsupported(self) -> str | None:
        """Why PSA cannot give what this call asks for, or None."""
        if self.masked:
            return "masked attention"
        if self.options.get("low_precision_attention") is False:
            return "model asks for full precision"
        for name in sorted(self.options.keys() - _UNDERSTOOD):
            if self.options[name] is not None:
                return f"unknown option {name}"
        return self._odd_tensors()

    def _odd_tensors(self) -> str | None:
        """Why the kernels cannot take q, k and v together, or None."""
        q, k, v = self.split_heads()
        if odd := odd_tensors(q, k, v):
            return odd
        if q.shape[1] != k.shape[1] and not self.options.get("enable_gqa"):
            # ComfyUI's attention functions differ here: PyTorch's gives one head to all of q's,
            # sub-quadratic attention shares out its tokens, others fail.
            return "fewer key heads without enable_gqa"
        return None

    @property
    def scale(self) -> float | None:
        return self.options.get("scale")

    def split_heads(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q, k, v as views `[B, H, L, D]`, k and v with their own heads; nothing is copied.

        With heads first, one k or v for the whole batch is repeated. With tokens first, ComfyUI's
        attention would read it as a batch of shorter sequences.
        """
        return self._by_heads(self.q), self._by_heads(self.k), self._by_heads(self.v)

    def _by_heads(self, x: torch.Tensor) -> torch.Tensor:
        if self.heads_first:
            return x.expand(self.q.shape[0], -1, -1, -1) if x.shape[0] == 1 else x
        if x.dim() == 3:
            x = x.view(x.shape[0], x.shape[1], x.shape[2] // self.head_dim, self.head_dim)
        return x.transpose(1, 2)

    def join_heads(self, out: torch.Tensor) -> torch.Tensor:
        """`[B, H, L, D]` in the shape the caller expects back."""
        if self.options.get("skip_output_reshape"):
            return out
        return out.transpose(1, 2).flatten(2)

    def block_index(self) -> int | None:
        """The transformer block, where the model says which one it is."""
        if self._published("block_type") == "single":
            return None  # numbered from 0 again: the core counts on from the double blocks
        index = self._published("block_index")
        return index if isinstance(index, int) else None

    def grid_sizes(self) -> tuple[int, ...] | None:
        """The token grid, if the model says it; () for something that is not a grid."""
        sizes = self._published("grid_sizes")
        if sizes is None:
            return None
        try:
            return tuple(int(size) for size in sizes)
        except Exception:  # of whatever type another version may publish it
            return ()

    def _published(self, name: str) -> Any:
        options = self.options.get("transformer_options")
        return options.get(name) if isinstance(options, dict) else None


def _has_heads_of(dim: int, x: torch.Tensor) -> bool:
    """Whether `x` is `[B, L, heads * dim]` or `[B, L, heads, dim]`, of however many heads."""
    if x.dim() == 4:
        return x.shape[-1] == dim
    return x.dim() == 3 and dim > 0 and x.shape[-1] % dim == 0
