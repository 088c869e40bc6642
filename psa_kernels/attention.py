"""The line: reorder, pyramid, importance, levels, attend. It knows no implementation.

An implementation is a package with five functions, one a stage, over shared `Layout`s:

    reorder(q, k, layout, config, state)                       -> Orders
    build_pyramid(k, v, orders, layout, config)                -> pyramid
    importance(q, pyramid, orders, layout, config, scale)      -> S
    assign_levels(S, pyramid, layout, config)                  -> plan
    attend(q, pyramid, plan, orders, layout, config, scale)    -> out

Only `Orders`, `S` (float32 `[B, H, video query blocks, video key blocks]`), `plan.levels()` (int8,
see `Stats`) and `out` have a meaning outside the implementation that made them.
"""
