"""The stages in sequence, for any implementation: from reorder to attend.

An implementation is a package with six functions over shared `Layout`s, one per stage:

    reorder(q, k, layout, config, state)                       -> Orders
    group_keys(q, k, v, orders, layout, config)                -> Groups
    build_pyramid(k, v, orders, layout, config, groups)        -> pyramid
    importance(q, pyramid, orders, layout, config, scale)      -> S
    assign_levels(S, pyramid, layout, config)                  -> plan
    attend(q, pyramid, plan, orders, layout, config, scale)    -> out

and one that says which heads go through the last four stages together, which bounds their memory:

    head_groups(layout, config, element_size)                  -> slices of the key/value heads

`psa_kernels/implementations.py` lists the implementations and says which one serves a call. The
`config` that stages get is settled: it never asks for a precision that the call cannot have.
Without `grouping: similar` nothing is grouped, and `groups` is None. `OrderState` says which groups
and plans a later step of the same run may use again.

Outside the implementation that made them, only `Orders`, `Groups`, `S` (`[B, H, video query blocks,
video key blocks]`), `plan.levels()` (int8, see `Stats`) and `out` have a meaning.
"""

from __future__ import annotations

from contextlib import nullcontext
from types import ModuleType

import torch
from torch.autograd import forward_ad

from .config import PSAConfig
from .config.issues import shown
from .implementations import choose
from .layout import CallError, Layout
from .order_state import CARRIED, Kept, OrderState, captured
from .stages import JoinedPlan
from .stats import Stats


class NoKernelsError(RuntimeError):
    """No GPU kernels can serve a call; the text says why."""


def psa_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    config: PSAConfig | None = None,
    grid: tuple[int, int, int] | None = None,
    extra_tokens: tuple[int, int] = (0, 0),
    causal: bool = False,
    scale: float | None = None,
    return_stats: bool = False,
    state: OrderState | None = None,
    step: int | None = None,
    need_kernels: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, Stats]:
    """Pyramid sparse attention of q `[B, H, Lq, D]` over k and v `[B, Hkv, Lk, D]`.

    The inputs are floating-point, of one dtype and device, with any strides. They are not changed.
    `H` must be a multiple of `Hkv`.

    config        settings; the defaults of `PSAConfig` if absent. With type "dense", every block is
                  read in full. Only hosts read `blocks`: see `PSAConfig.for_block`
    grid          (frames, height, width) of the video tokens, which come in raster order; some
                  orders need it
    extra_tokens  how many tokens before and after the video are not on the grid (text, references)
    causal        each query reads keys up to its own position; needs attn_impl "old_mask_type" and
                  no rearrangement
    scale         factor on the logits; `D ** -0.5` if absent
    return_stats  also return what was computed
    state         carries over from step to step of one run: centroids of the semantic orders and,
                  with like keys, groups and plans
    step          the number of the sampling step, for the state; without it, each call is a step
    need_kernels  raise `NoKernelsError`, which says why, instead of using the plain torch
                  reference, which on a GPU is slower than dense attention

    Returns the output `[B, H, Lq, D]` in q's dtype and the caller's token order; with
    `return_stats`, a pair of the output and `Stats`. Its memory is contiguous as `[B, H, Lq, D]`
    from the reference, as `[B, Lq, H, D]` from the kernels and under torch.compile. On the same
    machine, the same inputs give the same bits, with a fresh `state` or none.

    torch.compile breaks its graph at this function; `PSAAttention` is one operator to it.

    Raises `CallError` if the arguments do not fit each other or the configuration;
    `NoKernelsError`, see `need_kernels`.
    Source: the PSA attention module's interface; docs/semantics.md, sections 1 to 9.
    """
    config = settings(config)
    if config.type == "dense":
        # whatever else it says: nothing is pooled, ordered or rounded
        config = PSAConfig(
            attn_impl=config.attn_impl, block_m=config.block_m, block_n=config.block_n,
            mask_ratios={1: (0, 1)}, use_rearrange=False,
        )  # fmt: skip
    layout = Layout.of(q, k, v, config, grid=grid, extra_tokens=extra_tokens, causal=causal)
    scale = q.shape[-1] ** -0.5 if scale is None else float(scale)
    # kernels read memory as it is: the sign of a conjugate's imaginary part is not in it
    if q.is_neg() or k.is_neg() or v.is_neg():
        q, k, v = q.resolve_neg(), k.resolve_neg(), v.resolve_neg()
    gradient = q.requires_grad or k.requires_grad or v.requires_grad
    gradient = gradient and torch.is_grad_enabled()
    if forward_ad._current_level >= 0:  # inside of a context for forward derivatives
        gradient |= any(forward_ad.unpack_dual(x).tangent is not None for x in (q, k, v))
    choice = choose(q.device, q.dtype, layout, config, gradient)
    chosen = choice.implementation
    if need_kernels and not chosen.kernels:
        raise NoKernelsError(choice.reason)
    if state is not None:
        state.begin(step)
    out, plan = run_stages(chosen.package, q, k, v, layout, choice.config, scale, state)
    if not return_stats:
        return out
    return out, Stats(plan, layout, config.tail, chosen.name, choice.reason)


def settings(config: PSAConfig | None) -> PSAConfig:
    """`config`, or the defaults for None. Raises `CallError` if it is not a configuration."""
    if config is None:
        return PSAConfig()
    if not hasattr(config, "to_preset"):  # one from another copy of this package is fine
        raise CallError(
            f"config: found {shown(config)}. Fix: give a PSAConfig, like PSAConfig(tail=16) or, "
            "from a preset's mapping, PSAConfig.from_preset(mapping)"
        )
    return config


# what torch.compiler.disable does, which costs every importer the import of the whole compiler
psa_attention._torchdynamo_disable = True


def run_stages(
    package: ModuleType,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    layout: Layout,
    config: PSAConfig,
    scale: float,
    state: OrderState | None = None,
):
    """(out, plan) of the stages of `package`, for arguments that `Layout.of` has checked."""
    with made_current(q.device), _full_precision(q.device.type):
        kept = Kept.of(state, package, q, layout, config)
        if config.order in CARRIED and captured(q.device):
            state = None  # a graph would go on from the centroids of the step in which it was made
        orders = package.reorder(q, k, layout, config, state)
        groups = kept.groups
        if groups is None and config.grouping == "similar":
            groups = package.group_keys(q, k, v, orders, layout, config)
            kept.keep_groups(groups)
        parts = package.head_groups(layout, config, q.element_size())
        plans = kept.plans or [None] * len(parts)
        if len(parts) == 1:
            out, plans[0] = _attend(
                package, q, k, v, orders, groups, plans[0], layout, config, scale
            )
        else:
            shape = (layout.batch, layout.q_len, layout.heads, layout.head_dim)
            out = q.new_empty(shape).transpose(1, 2)
            for i, part in enumerate(parts):
                small, heads = layout.of_heads(part)
                _, plans[i] = _attend(
                    package, q[:, heads], k[:, part], v[:, part], orders.of_heads(heads, part),
                    groups and groups.of_heads(part), plans[i], small, config, scale,
                    out=out[:, heads],
                )  # fmt: skip
        kept.keep_plans(plans)
        return out, plans[0] if len(plans) == 1 else JoinedPlan(plans)


def _attend(package, q, k, v, orders, groups, plan, layout, config, scale, **keywords):
    """(out, plan) of the last four stages; `plan` if there is one already."""
    pyramid = package.build_pyramid(k, v, orders, layout, config, groups)
    if plan is None:
        mass = package.importance(q, pyramid, orders, layout, config, scale)
        plan = package.assign_levels(mass, pyramid, layout, config)
    return package.attend(q, pyramid, plan, orders, layout, config, scale, **keywords), plan


def made_current(device: torch.device):
    """Makes a GPU the current one: that is where Triton launches, wherever its arguments are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _full_precision(device_type: str):
    """Keeps a caller's autocast from computing scores in half precision."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
