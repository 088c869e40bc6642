"""How far an implementation's stages are from the float32 reference, on given inputs.

After rounding, two blocks of nearly the same rank may swap levels, and then outputs differ although
both programs are right. So each stage is compared with the reference on what the implementation
itself handed to that stage: the levels on its own importance, the output on its own levels. Large
calls are compared on sampled heads and query blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType

import torch

from .. import reference
from ..attention import run_stages
from ..config import PSAConfig
from ..layout import Layout
from ..stages import Groups, Orders


@dataclass(frozen=True)
class Agreement:
    """orders      whether they are permutations, and for a static method the reference's own
    groups         whether each block's like keys are an order of its keys
    importance     rel-L2 error of S
    levels         share of the block pairs on another level than the reference's
    output         rel-L2 error of the output; NaN or infinite values in it make this infinite
    """

    orders: bool
    groups: bool
    importance: float
    levels: float
    output: float

    def within(self, tolerance: Tolerance) -> bool:
        return (
            self.orders
            and self.groups
            and self.importance <= tolerance.importance
            and self.levels <= tolerance.levels
            and self.output <= tolerance.output
        )

    def __str__(self) -> str:
        wrong = "" if self.orders else "wrong token order, "
        wrong += "" if self.groups else "wrong groups of like keys, "
        return (
            f"{wrong}importance off by {self.importance:.1e}, levels by {self.levels:.1e}, "
            f"output by {self.output:.1e}"
        )


@dataclass(frozen=True)
class Tolerance:
    """Largest accepted values of `Agreement`'s fields."""

    importance: float
    levels: float
    output: float


# Half-precision kernels round pooled keys and probabilities; thresholds summed in float32 instead
# of float64 may move a block of a row.
TOLERANCE = {
    torch.float32: Tolerance(1e-5, 2e-3, 1e-5),
    torch.float16: Tolerance(2e-3, 2e-3, 2e-3),
    torch.bfloat16: Tolerance(2e-2, 2e-3, 1e-2),
}


def agreement(
    package: ModuleType,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    layout: Layout,
    config: PSAConfig,
    scale: float,
    *,
    heads: Sequence[tuple[int, int]] | None = None,
    blocks: Sequence[int] | None = None,
) -> Agreement:
    """Runs the stages of `package` on q `[B, H, Lq, D]`, k, v `[B, Hkv, Lk, D]`; compares.

    heads   (batch, head) pairs to compare; all if absent
    blocks  video query blocks whose output to compare, beside all extra tokens; all if absent (a
            causal call must leave it absent)
    """
    if heads is None:
        heads = [(b, h) for b in range(layout.batch) for h in range(layout.heads)]
    if blocks is None:
        blocks = range(layout.q_blocks)

    mass_error, out_error, pairs, moved = _Relative(), _Relative(), 0, 0
    with exact_matmuls():
        orders = package.reorder(q, k, layout, config, None)
        groups = None
        if config.grouping == "similar":
            groups = package.group_keys(q, k, v, orders, layout, config)
        pyramid = package.build_pyramid(k, v, orders, layout, config, groups)
        mass = package.importance(q, pyramid, orders, layout, config, scale)
        plan = package.assign_levels(mass, pyramid, layout, config)
        out = package.attend(q, pyramid, plan, orders, layout, config, scale)
        for b, head in heads:
            one = _OneHead(q, k, v, orders, groups, layout, config, scale, b, head)
            mass_error.add(mass[b, head], one.importance())
            levels = plan.levels()[b, head]
            moved += int((levels != one.levels(mass[b, head])).sum())
            pairs += levels.numel()
            places, right = one.output(levels, sorted(blocks))
            out_error.add(out[b, head, places], right)
    return Agreement(
        _orders_fit(orders, layout, config, q.device), _groups_fit(groups, layout),
        mass_error.value, moved / max(pairs, 1), out_error.value,
    )  # fmt: skip


class _OneHead:
    """The reference's stages of one head, in float32."""

    def __init__(self, q, k, v, orders, groups, layout, config, scale, b, head):
        kv_head = layout.kv_head(head)
        self.q = q[b : b + 1, head : head + 1].float()
        self.k, self.v = (x[b : b + 1, kv_head : kv_head + 1].float() for x in (k, v))
        self.orders = Orders(_of_head(orders.q, b, head), _of_head(orders.k, b, kv_head))
        self.layout = replace(layout, batch=1, heads=1, kv_heads=1)
        self.config, self.scale = config, scale
        if groups is not None:
            part = groups.of_heads(slice(kv_head, kv_head + 1))
            groups = Groups(part.places[b : b + 1], part.weights[b : b + 1])
        self.pyramid = reference.build_pyramid(
            self.k, self.v, self.orders, self.layout, config, groups
        )

    def importance(self) -> torch.Tensor:
        return reference.importance(
            self.q, self.pyramid, self.orders, self.layout, self.config, self.scale
        )[0, 0]

    def levels(self, mass: torch.Tensor) -> torch.Tensor:
        plan = reference.assign_levels(
            mass.float()[None, None], self.pyramid, self.layout, self.config
        )
        return plan.levels()[0, 0]

    def output(self, levels: torch.Tensor, blocks: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """(positions in the caller's order, output `[positions, D]`) of the blocks and extras.

        It is a separate call, whose queries are the chosen ones in their permuted order.
        """
        full, m = self.layout, self.layout.m
        places = [torch.arange(i * m, min((i + 1) * m, full.q_video)) for i in blocks]
        places = torch.cat(places).to(self.q.device) if places else torch.arange(0)
        if self.orders.q is not None:
            places = self.orders.q[0, 0, places]
        prefix = torch.arange(full.before, device=self.q.device)
        suffix = torch.arange(full.q_len - full.after, full.q_len, device=self.q.device)
        positions = torch.cat((prefix, places.to(self.q.device) + full.before, suffix))
        part = replace(full, q_len=len(positions), grid=None)
        rows = [*blocks, *range(full.q_blocks, full.q_blocks + full.q_extra_blocks)]
        pyramid = replace(self.pyramid, layout=part)
        out = reference.attend(
            self.q[:, :, positions], pyramid, _Given(levels[rows][None, None]),
            Orders(None, self.orders.k), part, self.config, self.scale,
        )  # fmt: skip
        return positions, out[0, 0]


@dataclass(frozen=True)
class _Given:
    """A plan whose levels are known."""

    matrix: torch.Tensor

    def levels(self) -> torch.Tensor:
        return self.matrix


class _Relative:
    """rel-L2 error over everything added."""

    def __init__(self):
        self.error = self.norm = 0.0

    def add(self, found: torch.Tensor, right: torch.Tensor) -> None:
        self.error += float((found.double() - right.double()).square().sum())
        self.norm += float(right.double().square().sum())

    @property
    def value(self) -> float:
        if not math.isfinite(self.error):
            return math.inf
        return math.sqrt(self.error / self.norm) if self.norm else math.sqrt(self.error)


def dense_error(
    package: ModuleType,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    layout: Layout,
    config: PSAConfig,
    scale: float,
) -> float:
    """rel-L2 distance of the whole line from dense attention in float64."""
    with exact_matmuls():
        out, _ = run_stages(package, q, k, v, layout, config, scale)
    shared = layout.heads // layout.kv_heads
    q64 = q.cpu().double()
    k64, v64 = (x.cpu().double().repeat_interleave(shared, 1) for x in (k, v))
    logits = q64 @ k64.transpose(-1, -2) * scale
    if layout.causal:
        logits += torch.full_like(logits[0, 0], -torch.inf).triu(1)
    error = _Relative()
    error.add(out.cpu(), torch.softmax(logits, -1) @ v64)
    return error.value


@contextmanager
def exact_matmuls():
    """Float32 products are computed in float32, even if the host program has set otherwise."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _of_head(order: torch.Tensor | None, b: int, head: int) -> torch.Tensor | None:
    """One head's order `[1, 1, L]`; a size of 1 stands for all batches or heads."""
    if order is None:
        return None
    b, head = min(b, order.shape[0] - 1), min(head, order.shape[1] - 1)
    return order[b : b + 1, head : head + 1]


def _orders_fit(orders: Orders, layout: Layout, config: PSAConfig, device: torch.device) -> bool:
    for order, length in ((orders.q, layout.q_video), (orders.k, layout.k_video)):
        if order is None:
            continue
        every = torch.arange(length, device=device).expand(order.shape)
        if not torch.equal(order.sort(-1).values, every):
            return False
    if config.order in ("Gilbert", "STA"):
        empty = torch.empty(0, device=device)
        right = reference.reorder(empty, empty, layout, config)
        return orders.q is not None and torch.equal(orders.q[:1, :1], right.q)
    return config.order is None or orders.k is not None or layout.k_video == 0


def _groups_fit(groups: Groups | None, layout: Layout) -> bool:
    if groups is None:
        return True
    blocks = groups.places.unflatten(2, (layout.k_video // layout.n, layout.n))
    every = torch.arange(layout.n, dtype=torch.uint8, device=blocks.device)
    return torch.equal(blocks.sort(-1).values, every.expand_as(blocks))
