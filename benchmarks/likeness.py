"""How similar a call is to real attention: the figures that are published of real models, for any
q, k, v.

The figures are of sampled query blocks, the same ones for every call of a grid, so that calls of
different steps and models can be compared. What was published, and by whom: `likeness_table.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from psa_kernels import PSAConfig

from . import inputs
from .block_mass import by_block, estimated, needed

QUERIES, KEYS = 128, 32  # of a block in raster order, as LoSA has them
OWN = 128  # queries and keys of a block in Gilbert order, as our presets have them
CONFIG = PSAConfig(rearrange_method="Gilbert", block_m=OWN, block_n=OWN)
MASSES = (0.959, 0.99, 0.999)  # LoSA's
TOP, LOWEST = 0.081, 0.45  # SLA's shares of the keys
NEAREST = 0.155  # STA's share of space
PLAN_MASS = 0.99  # of the blocks that a plan keeps
ESTIMATED = 0.9  # the mass that a recall is of, as PARK's
SINKS = 4
GROUP = 8
BLOCKS, EVERY = 16, 8  # query blocks of a head; each 8th of their queries for single tokens


@dataclass(frozen=True)
class Likeness:
    """figures: name -> one for each head. mass: `[H, query blocks, key blocks]`, raster order."""

    figures: dict[str, list[float]]
    mass: torch.Tensor

    def plan(self) -> torch.Tensor:
        """bool, shaped as `mass`: the fewest key blocks of each row that hold `PLAN_MASS`."""
        ranked, order = self.mass.sort(dim=-1, descending=True)
        kept = ranked.cumsum(-1) - ranked < PLAN_MASS
        return torch.zeros_like(kept).scatter_(-1, order, kept)

    def held_by(self, plan: torch.Tensor) -> list[float]:
        """The mass of each head in the blocks of another step's plan."""
        return (self.mass * plan).sum(-1).mean(-1).tolist()


class Look:
    """Measures calls of one grid; no text tokens.

    blocks  query blocks of each head that are looked at, all where there are fewer
    """

    def __init__(self, grid: tuple[int, int, int], device="cpu", blocks: int = BLOCKS):
        self.grid, self.length = grid, math.prod(grid)
        if self.length < QUERIES:
            raise ValueError(f"grid {grid} has {self.length} tokens; give {QUERIES} or more")
        whole = self.length // QUERIES
        self.blocks = inputs.sampled(min(blocks, whole), whole, 5).sort().values.tolist()
        self.near = torch.stack([_nearest(grid, rows[::EVERY]) for rows in self._rows()])
        self.near = self.near.to(device)

    def _rows(self):
        return [torch.arange(QUERIES) + QUERIES * block for block in self.blocks]

    def at(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Likeness:
        """q, k, v `[1, H, L, D]`, any floating dtype; computed in float32, one head at a time."""
        mass, orders = estimated(q, k, CONFIG, self.grid)
        curve = orders.q[0, 0].to(q.device)
        estimates = {"own": mass[0], "mean_query": _mean_query(q, k, curve)}
        rows, masses = [], []
        for head in range(q.shape[1]):
            parts = tuple(x[0, head].float() for x in (q, k, v))
            found, mass = self._weights(*parts[:2])
            found |= self._recall(*parts[:2], curve, {n: x[head] for n, x in estimates.items()})
            found |= _channels(*parts, curve)
            rows.append(found)
            masses.append(mass)
        figures = {name: [row[name] for row in rows] for name in rows[0]}
        return Likeness(figures, torch.stack(masses))

    def _weights(self, q, k) -> tuple[dict[str, float], torch.Tensor]:
        """The figures of one head's softmax weights, and their mass by block."""
        scale, length = q.shape[1] ** -0.5, self.length
        most, least = round(TOP * length), round(LOWEST * length)
        above, outside, lowest, near, std, mass, rest = [], [], [], [], [], [], []
        received = torch.zeros(length, device=q.device)
        for block, nearest in zip(self.blocks, self.near, strict=True):
            logits = q[block * QUERIES : (block + 1) * QUERIES] @ k.T * scale
            weights = logits.softmax(1)
            std.append(logits[::EVERY].std(1))
            received += weights.mean(0)
            mass.append(by_block(weights.mean(0), KEYS))
            some = weights[::EVERY]
            above.append((some * length > 1).float().mean(1))
            near.append(some.gather(1, nearest).sum(1))
            top, where = some.topk(most)
            outside.append(1 - top.sum(1))
            lowest.append(some.kthvalue(least, 1).values)
            lowest[-1] = some.where(some <= lowest[-1][:, None], some.new_zeros(())).sum(1)
            rest.append(some.scatter(1, where, 0))
        left = torch.cat(rest)
        squares = torch.linalg.eigvalsh((left @ left.T).double()).clamp(min=0)
        block_mass = torch.stack(mass)
        found = {f"blocks_{held}": needed(block_mass, held).mean().item() for held in MASSES}
        return found | {
            "above_even": torch.cat(above).mean().item(),
            "outside_top": torch.cat(outside).mean().item(),
            "lowest": torch.cat(lowest).mean().item(),
            "stable_rank": (squares.sum() / squares[-1].clamp(min=1e-30)).item(),
            "near": torch.cat(near).mean().item(),
            "std": torch.cat(std).mean().item(),
            "sinks": (received.topk(SINKS).values.sum() / len(self.blocks)).item(),
        }, block_mass

    def _recall(self, q, k, curve, estimates) -> dict[str, float]:
        """True mass of the blocks that an estimate takes for `ESTIMATED` of it, Gilbert order."""
        keys = k[curve]
        exact = []
        for block in self.blocks:
            rows = q[curve[block * OWN : (block + 1) * OWN]]
            exact.append(by_block((rows @ keys.T * q.shape[1] ** -0.5).softmax(1).mean(0), OWN))
        exact = torch.stack(exact)
        found = {}
        for name, estimate in estimates.items():
            estimate = estimate[self.blocks]
            ranked, order = (estimate / estimate.sum(1, keepdim=True)).sort(descending=True)
            taken = ranked.cumsum(1) - ranked < ESTIMATED
            held = (exact.gather(1, order) * taken).sum(1)
            found[f"recall_{name}"] = held.mean().item()
            found[f"taken_{name}"] = taken.float().mean().item()
        return found


def _nearest(grid, rows: torch.Tensor) -> torch.Tensor:
    """int64 `[rows, NEAREST of L]`: the nearest keys of each query; axes have length 1."""
    axes = torch.meshgrid(*(torch.arange(n) / n for n in grid), indexing="ij")
    place = torch.stack([axis.flatten() for axis in axes], 1)
    distance = torch.cdist(place[rows], place)
    return distance.topk(round(NEAREST * len(place)), largest=False).indices


def _mean_query(q: torch.Tensor, k: torch.Tensor, curve: torch.Tensor) -> torch.Tensor:
    """`[H, query blocks, key blocks]`: a softmax of mean query x mean key of the blocks."""

    def means(x):
        return torch.stack([part.mean(1) for part in x[0, :, curve].float().split(OWN, 1)], 1)

    return (means(q) @ means(k).mT * q.shape[-1] ** -0.5).softmax(-1)


def _channels(q, k, v, curve) -> dict[str, float]:
    """The dimensions of one head's vectors, and the mean of k's channels."""
    mean, rms = k.mean(0), k.square().mean().sqrt()
    groups = v[curve][: len(v) // GROUP * GROUP].unflatten(0, (-1, GROUP))
    inside = (groups - groups.mean(1, keepdim=True)).square().mean()
    return {
        "rank_q": effective_rank(q),
        "rank_k": effective_rank(k),
        "rank_v": effective_rank(v),
        "mean_k": (mean.norm() / (rms * k.shape[1] ** 0.5)).item(),
        "largest_channel": (mean.abs().max() / rms).item(),
        "rough_v": (inside / (v - v.mean(0)).square().mean()).item(),
    }


def effective_rank(x: torch.Tensor) -> float:
    """exp of the entropy of the covariance's eigenvalues, as shares of their sum. x `[L, D]`."""
    centred = (x - x.mean(0)).double()
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    shares = values / values.sum().clamp(min=1e-30)
    return torch.special.entr(shares).sum().exp().item()
