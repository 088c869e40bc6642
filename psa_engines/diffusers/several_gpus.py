"""A transformer that diffusers splits over several processes, one for each GPU.

Under Ulysses, each process has all tokens of some heads when attention is computed. That is all PSA
needs, since no head depends on another. Source: diffusers 0.42.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

RING = (
    "ring attention (ring_degree) gives each GPU the queries of some tokens and the keys of one "
    "part after the other; PSA chooses among all keys at once. Fix: "
    "ContextParallelConfig(ulysses_degree=...) with ring_degree left at 1"
)


@dataclass(frozen=True)
class Ranks:
    """The processes that run one transformer together.

    group   their process group
    rank    the number of this process, 0 to `of` - 1
    device  where they exchange tensors, unless a call says otherwise
    split   whether they share out the tokens as well, not only the heads
    """

    group: Any
    rank: int
    of: int
    device: torch.device
    split: bool

    def agreed(self, state: int, device: torch.device | None) -> int:
        """The greatest `state` of all ranks. All have to call this; each waits for the others."""
        worst = torch.tensor(state, device=device or self.device)
        dist.all_reduce(worst, op=dist.ReduceOp.MAX, group=self.group)
        return int(worst)


def ranks_of(model: torch.nn.Module) -> Ranks | None:
    """The ranks that share a model's work, None for a model in a single process."""
    context, tensor = _configs(model)
    config = context or tensor
    if config is None:
        return None
    mesh = config._flattened_mesh if context else config._mesh
    group = mesh.get_group()
    return Ranks(
        group, dist.get_rank(group), dist.get_world_size(group), config._device, bool(context)
    )


def check_shared(model: torch.nn.Module) -> None:
    """Raises `ValueError` for a split that PSA cannot serve, or that fails in the first block."""
    context, _ = _configs(model)
    if context is None:
        return
    if context.ring_degree > 1:
        raise ValueError(f"ring_degree: found {context.ring_degree}; {RING}")
    heads, degree = model.config.num_attention_heads, context.ulysses_degree
    spare = -heads % degree  # empty heads of the last rank, which needs at least one real head
    padded = spare < (heads + spare) // degree
    if spare and not (context.ulysses_anything and padded):
        fit = ", ".join(str(n) for n in range(2, heads + 1) if heads % n == 0)
        raise ValueError(
            f"ulysses_degree: found {degree}, which does not divide the {heads} attention heads of "
            f"{type(model).__name__}. Fix: {f'one of {fit}' if fit else 'one GPU'}"
            + (", or ulysses_anything=True" if padded else "")
        )


def _configs(model: torch.nn.Module) -> tuple[Any, Any]:
    """(context parallel, tensor parallel) configuration of a model, None if absent."""
    parallel = getattr(model, "_parallel_config", None)
    return (
        getattr(parallel, "context_parallel_config", None),
        getattr(parallel, "tensor_parallel_config", None),
    )
