"""Our own configurations: whole calls, every stage and the reordering included."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

from psa_kernels import PSAConfig
from psa_kernels.attention import run_stages
from psa_kernels.implementations import choose
from psa_kernels.layout import Layout
from psa_kernels.order_state import FIRST_STEPS, OrderState
from psa_kernels.stats import Stats

from .method import Method, Problem, Unavailable

# with a tail nothing leaves the softmax, but a key that all attend to is lost among pooled ones
KEEPS_ALL = 0.4
DROPS = 0.6


def shares(full: float, two: float = 0, four: float = 0, eight: float = 0) -> dict:
    """`mask_ratios` from the share of the key blocks on each level; the rest is on level 0."""
    ratios, begin = {}, 0.0
    for level, width in ((1, full), (2, two), (4, four), (8, eight)):
        end = round(begin + width, 9)
        ratios[level] = (begin, end)
        begin = end
    return {**ratios, 0: (begin, 1.0)}


def _tailed(tail: int, ratios: dict, second_moment: bool = True, order: str = "Gilbert"):
    return PSAConfig(
        block_n=128, rearrange_method=order, mask_ratios=ratios, tail=tail,
        second_moment=second_moment,
    )  # fmt: skip


CONFIGS = {
    "5% full, tail 64, 2nd moment": _tailed(64, shares(0.05)),
    "5% full, 15% at 8, tail 32, 2nd moment": _tailed(32, shares(0.05, eight=0.15)),
    "5% full, 15% at 8, tail 32": _tailed(32, shares(0.05, eight=0.15), False),
    "15% full, rest dropped": PSAConfig(
        block_n=128, rearrange_method="Gilbert", mask_ratios=shares(0.15)
    ),
    "default settings": PSAConfig(),
    "default settings, Gilbert order": PSAConfig(rearrange_method="Gilbert"),
    "3% full, 10% at 8, tail 64, 2nd moment": _tailed(64, shares(0.03, eight=0.1)),
    "10% full, 20% at 8, tail 64, 2nd moment": _tailed(64, shares(0.1, eight=0.2)),
    "10% full, 20% at 8, tail 64": _tailed(64, shares(0.1, eight=0.2), False),
    "10% full, 30% at 8, tail 16, 2nd moment": _tailed(16, shares(0.1, eight=0.3)),
    "5% full, 15% at 8, tail 32, 2nd moment, semantic order": _tailed(
        32, shares(0.05, eight=0.15), order="SemanticAware"
    ),
    "4-step preset": PSAConfig(
        block_n=128, attn_impl="old_mask_type", rearrange_method="Gilbert",
        mask_ratios={1: (0, 0.05), 2: (0.05, 0.15), 4: (0.15, 0.25), 8: (0.25, 0.5), 0: (0.5, 1)},
    ),
    "mass thresholds .4 / .5 / .6 / .8": PSAConfig(
        block_n=128, mask_mode="thresholdbound", rearrange_method="Gilbert",
        mask_ratios={1: (0, 0.4), 2: (0.4, 0.5), 4: (0.5, 0.6), 8: (0.6, 0.8), 0: (0.8, 1)},
    ),
    # what the former presets had in all steps (docs/former-presets.md)
    "shares of fast": _tailed(128, shares(0.0625, eight=0.2031)),
    "shares of balanced": _tailed(128, shares(0.12, eight=0.36)),
    # with like keys as fast as sol_attn at tau 2 in whole steps, with less error (NOTES.md)
    "3.2% full, tail 64, 2nd moment, int8": _tailed(64, shares(0.032)).replace(qk="int8"),
    "shares of fast, int8": _tailed(128, shares(0.0625, eight=0.2031)).replace(qk="int8"),
}  # fmt: skip
QUICK = tuple(CONFIGS)[:6]
# measured with like keys together too
LIKE_KEYS = "shares of fast", "shares of balanced", "3.2% full, tail 64, 2nd moment, int8"


def with_like_keys() -> dict[str, PSAConfig]:
    return {f"{name}, like keys": CONFIGS[name].replace(grouping="similar") for name in LIKE_KEYS}


def psa_methods(implementation: str, quick: bool) -> list[Method]:
    """`implementation`: a package of `psa_kernels`, or "auto" for what a call would get."""
    names = QUICK if quick else tuple(CONFIGS)
    methods = [psa_method(name, CONFIGS[name], implementation) for name in names]
    for name, config in with_like_keys().items() if not quick else ():
        methods.append(psa_method(name, config, implementation))
        methods.append(psa_method(f"{name}, kept from before", config, implementation, kept=True))
    return methods


def psa_method(name: str, config: PSAConfig, implementation: str, kept: bool = False) -> Method:
    """`kept`: groups and plan are those of an earlier step, which is not timed."""

    def prepare(problem: Problem):
        package = package_for(problem, config, implementation)
        q, k, v = problem.q, problem.k, problem.v

        state = OrderState() if kept else None

        def run() -> torch.Tensor:
            layout = layout_of(problem, config)
            return run_stages(package, q, k, v, layout, config, q.shape[-1] ** -0.5, state)[0]

        if kept:
            for step in range(FIRST_STEPS + 1):
                state.begin(step)
                run()
        return run

    def density(problem: Problem) -> float:
        package = package_for(problem, config, implementation)
        layout = layout_of(problem, config)
        scale = problem.q.shape[-1] ** -0.5
        _, plan = run_stages(package, problem.q, problem.k, problem.v, layout, config, scale)
        return Stats(plan, layout, config.tail).density

    return Method(
        f"PSA {name}", "psa", prepare, DROPS if config.tail == "none" else KEEPS_ALL, density,
        config=config,
    )  # fmt: skip


def package_for(problem: Problem, config: PSAConfig, implementation: str) -> ModuleType:
    if implementation != "auto":
        return importlib.import_module(f"psa_kernels.{implementation}")
    q = problem.q
    choice = choose(q.device, q.dtype, layout_of(problem, config), config)
    if not choice.implementation.kernels and q.is_cuda:
        raise Unavailable(f"no kernels serve this call: {choice.reason}")
    return choice.implementation.package


def layout_of(problem: Problem, config: PSAConfig) -> Layout:
    return Layout.of(
        problem.q, problem.k, problem.v, config, grid=problem.grid,
        extra_tokens=(problem.text, 0),
    )  # fmt: skip
