"""The time of each stage of one configuration."""

from __future__ import annotations

from psa_kernels import PSAConfig
from psa_kernels.stats import Stats
from psa_kernels.tune.timing import Clock, Timing, alternate

from .method import Problem
from .psa_methods import layout_of, package_for


def stage_times(
    problem: Problem, config: PSAConfig, implementation: str, clock: Clock, seconds_each: float
) -> tuple[dict[str, Timing], float]:
    """(stage -> timing, FLOP/s of the attention stage).

    The rate counts the products that the levels ask for: two matrix products a query-key pair.
    """
    package = package_for(problem, config, implementation)
    layout = layout_of(problem, config)
    q, k, v, scale = problem.q, problem.k, problem.v, problem.q.shape[-1] ** -0.5
    orders = package.reorder(q, k, layout, config, None)
    groups = None
    if config.grouping == "similar":
        groups = package.group_keys(q, k, v, orders, layout, config)
    pyramid = package.build_pyramid(k, v, orders, layout, config, groups)
    mass = package.importance(q, pyramid, orders, layout, config, scale)
    plan = package.assign_levels(mass, pyramid, layout, config)
    calls = {
        "reorder": lambda: package.reorder(q, k, layout, config, None),
        "pyramid": lambda: package.build_pyramid(k, v, orders, layout, config, groups),
        "importance": lambda: package.importance(q, pyramid, orders, layout, config, scale),
        "levels": lambda: package.assign_levels(mass, pyramid, layout, config),
        "attend": lambda: package.attend(q, pyramid, plan, orders, layout, config, scale),
    }
    if groups is not None:
        calls["groups"] = lambda: package.group_keys(q, k, v, orders, layout, config)
    times = alternate(calls, clock, seconds_each=seconds_each, most=20)
    flop = problem.dense_flop * Stats(plan, layout, config.tail).density
    return times, flop / times["attend"].ms * 1e3
