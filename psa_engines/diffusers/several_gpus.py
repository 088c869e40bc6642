"""A transformer whose work diffusers shares out over several processes, a GPU each.

Under Ulysses each of them has all tokens of some heads by the time attention is asked for, which
is all that PSA needs: nothing of a head hangs on another one. Source: diffusers 0.42.1.
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

    group   theirs
    rank    of this one, 0 to `of` - 1
    device  where tensors go that are exchanged, where no other is known
    split   whether the tokens are shared out among them, too, and not the heads alone
    """

    group: Any
    rank: int
    of: int
    device: torch.device
    split: bool

    def agreed(self, state: int, device: torch.device | None) -> int:
        """The greatest of all ranks' `state`. Every rank has to ask. Waits for the others."""
        told = torch.tensor(state, device=device or self.device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX, group=self.group)
        return int(told)


def ranks_of(model: torch.nn.Module) -> Ranks | None:
    """Those that share a model's work, None where it has one process to itself."""
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
    """Raises `ValueError` for what PSA cannot serve, or what would fail in the first block."""
    context, _ = _configs(model)
    if context is None:
        return
    if context.ring_degree > 1:
        raise ValueError(f"ring_degree: found {context.ring_degree}; {RING}")
    heads, degree = model.config.num_attention_heads, context.ulysses_degree
    spare = -heads % degree  # empty heads of the last rank, which has to have one of its own
    padded = spare < (heads + spare) // degree
    if spare and not (context.ulysses_anything and padded):
        fit = ", ".join(str(n) for n in range(2, heads + 1) if heads % n == 0)
        raise ValueError(
            f"ulysses_degree: found {degree}, which does not divide the {heads} attention heads of "
            f"{type(model).__name__}. Fix: {f'one of {fit}' if fit else 'one GPU'}"
            + (", or ulysses_anything=True" if padded else "")
        )


def _configs(model: torch.nn.Module) -> tuple[Any, Any]:
    """(context parallel, tensor parallel) of a model, None where absent."""
    parallel = getattr(model, "_parallel_config", None)
    return (
        getattr(parallel, "context_parallel_config", None),
        getattr(parallel, "tensor_parallel_config", None),
    )
