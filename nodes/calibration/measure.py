"""The error of each rung in each block, measured at a dense run's own attention calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch

from ...psa_kernels import PSAConfig, psa_attention
from ..patching.attention_call import AttentionCall
from ..patching.override import AttentionOverride
from .ladder import Rung

ROWS = 512  # query rows of a call over which errors are measured
POSITIVE = 0  # ComfyUI's number of the positive condition in `cond_or_uncond`
MEASURED = "measured"


@dataclass(frozen=True)
class Call:
    """One attention call of a block.

    norm      squared norm of a row of the exact output, mean over the sampled rows
    rungs     (density, squared error of a row) of each rung
    in_order  the same for the base in token order, if the rungs are compared with it
    """

    block: int
    norm: float
    rungs: tuple[tuple[float, float], ...]
    in_order: tuple[float, float] | None = None


class MeasuringOverride(AttentionOverride):
    """Leaves every call dense, but first measures the calls of self-attention over the video.

    rungs       number of video tokens -> the ladder
    in_order    the preset in token order to measure as well, or None: `Call.in_order`
    conditions  `cond_or_uncond` of this model call
    looked      called after each measured call
    """

    def __init__(
        self, *args: Any, rungs: Callable[[int], Sequence[Rung]], in_order: PSAConfig | None,
        conditions: Sequence[int], looked: Callable[[], None], **kwargs: Any,
    ):  # fmt: skip
        super().__init__(*args, **kwargs)
        self.rungs, self.in_order = rungs, in_order
        self.conditions, self.looked = list(conditions), looked
        self.found: list[tuple[int, torch.Tensor, list[torch.Tensor], list[torch.Tensor]]] = []

    def _sparse(
        self, call: AttentionCall, index: int, seen: Any, config: PSAConfig
    ) -> tuple[torch.Tensor | None, str]:
        q, k, v = self._one_condition(call.split_heads())
        grid = self.token_grid.of_length(call.tokens[0])
        scale = q.shape[-1] ** -0.5 if call.scale is None else call.scale
        rows = _sample(q.shape[2], q.device)
        truth = exact_rows(q[:, :, rows], k, v, scale)
        tried = [rung.config for rung in self.rungs(grid.length - grid.before - grid.after)]
        if self.in_order is not None:
            tried.append(self.in_order)
        here = self.run.schedule.steps[self.step].range
        tried = [preset.in_range(here) for preset in tried]
        errors, shares = [], []
        for config in tried:
            out, stats = psa_attention(
                q, k, v, config=config, grid=grid.grid,
                extra_tokens=(grid.before, grid.after), scale=call.scale, return_stats=True,
                need_kernels=q.device.type != "cpu",
            )  # fmt: skip
            errors.append((out[:, :, rows].float() - truth).square().sum(-1).mean())
            shares.append(stats.tally[-1] / stats.dense_products)
            # for a long video a gigabyte, which the next rung needs
            del out, stats
            comfy.model_management.throw_exception_if_processing_interrupted()
        norm = truth.square().sum(-1).mean()
        # read after the model call, because reading waits for the GPU
        self.found.append((seen.block, norm, errors, shares))
        self.looked()
        return None, MEASURED

    def _one_condition(self, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """The rows of the positive condition, if this call has it; else of the first condition."""
        count = len(self.conditions)
        if count < 2 or tensors[0].shape[0] % count:
            return tensors
        place = self.conditions.index(POSITIVE) if POSITIVE in self.conditions else 0
        return tuple(x.chunk(count)[place] for x in tensors)

    def results(self) -> list[Call]:
        """The measured calls, read from the device."""
        found, self.found = self.found, []
        calls = []
        for block, norm, errors, shares in found:
            tried = list(zip(_read(shares), _read(errors), strict=True))
            in_order = None if self.in_order is None else tried.pop()
            calls.append(Call(block, float(norm), tuple(tried), in_order))
        return calls


class ProbingOverride(AttentionOverride):
    """One block sparse, all others dense.

    probed, config  the block, and the preset that gives its settings
    """

    def __init__(self, *args: Any, probed: int, config: PSAConfig, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.probed, self.config = probed, config
        # keep nothing: what an earlier probe left would be older than in a real run
        self.key = None

    def _sparse(
        self, call: AttentionCall, index: int, seen: Any, config: PSAConfig
    ) -> tuple[torch.Tensor | None, str]:
        if seen.block != self.probed:
            return None, MEASURED
        here = self.run.schedule.steps[self.step].range
        return super()._sparse(call, index, seen, self.config.in_range(here))


def exact_rows(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """Exact attention of some query rows, one head at a time; float32 `[B, H, R, D]`.

    q `[B, H, R, D]`, k and v `[B, Hkv, L, D]`, `H` a multiple of `Hkv`
    """
    out = torch.empty((*q.shape[:-1], v.shape[-1]), dtype=torch.float32, device=q.device)
    group = q.shape[1] // k.shape[1]
    for head in range(q.shape[1]):
        shared = head // group
        weights = (q[:, head].float() * scale) @ k[:, shared].float().transpose(1, 2)
        out[:, head] = weights.softmax(-1) @ v[:, shared].float()
    return out


def _read(values: list[torch.Tensor]) -> list[float]:
    return torch.stack(values).tolist()


def _sample(length: int, device: torch.device) -> torch.Tensor:
    """Indices of up to `ROWS` rows, the same for every call of this length."""
    generator = torch.Generator().manual_seed(length)
    return torch.randperm(length, generator=generator)[:ROWS].to(device)
