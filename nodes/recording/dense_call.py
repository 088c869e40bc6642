"""The shape of an attention call that PSA served, to time a similar one densely afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class TensorSpec:
    """What a tensor was, without its memory."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, x: torch.Tensor) -> TensorSpec:
        return cls(tuple(x.shape), x.stride(), x.dtype, x.device)

    def make(self, generator: torch.Generator | None = None) -> torch.Tensor:
        """A tensor with the same layout and normal random numbers."""
        x = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)
        return x.normal_(generator=generator)

    @property
    def bytes(self) -> int:
        extent = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        return extent * self.dtype.itemsize


@dataclass(frozen=True)
class DenseCall:
    """serve     the attention that PSA would have stepped aside to
    args, kwargs  of the call, with a `TensorSpec` for each tensor
    """

    serve: Callable
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(
        cls, func: Callable, previous: Callable | None, args: tuple, kwargs: dict[str, Any]
    ) -> DenseCall:
        if previous is not None:
            args, serve = (func, *args), previous
        else:
            serve = func
        return cls(
            serve, tuple(_spec(x) for x in args), {name: _spec(x) for name, x in kwargs.items()}
        )

    @property
    def bytes(self) -> int:
        """Bytes of the inputs."""
        values = (*self.args, *self.kwargs.values())
        return sum(x.bytes for x in values if isinstance(x, TensorSpec))

    def tensors(self) -> tuple[tuple, dict[str, Any]]:
        """(args, kwargs) to call `serve` with."""
        return tuple(_made(x) for x in self.args), {k: _made(x) for k, x in self.kwargs.items()}


def _spec(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return TensorSpec.of(value)
    if isinstance(value, dict):
        # a model's options hold a run's tensors and hooks, which must not outlive it
        return {k: x for k, x in value.items() if _is_plain(x)}
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(x) for x in value)
    return isinstance(value, _PLAIN)


def _made(value: Any) -> Any:
    return value.make() if isinstance(value, TensorSpec) else value
