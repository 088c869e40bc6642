"""Settings of the part "like keys": what grouping gains at equal density, and for how many steps
groups and plans may be kept (docs/semantics.md, "Like keys together")."""

from __future__ import annotations

from .settings import LIKE_KEYS, Base, Setting, Settings

# label -> shares, tail
ALLOCATIONS = {
    "12.5% full, 37.5% at 8, rest dropped": ({1: (0, 0.125), 8: (0.125, 0.5), 0: (0.5, 1)}, "none"),
    "23.5% full, 70.5% at 8, rest dropped": (
        {1: (0, 0.235), 8: (0.235, 0.94), 0: (0.94, 1)},
        "none",
    ),
    "balanced": ({1: (0, 0.12), 8: (0.12, 0.48), 0: (0.48, 1)}, 128),
    "fast": ({1: (0, 0.0625), 8: (0.0625, 0.2656), 0: (0.2656, 1)}, 128),
}
BLOCK_SPARSE = {
    "12.5% full, 37.5% at 8, rest dropped": 0.172,
    "23.5% full, 70.5% at 8, rest dropped": 0.323,
    "fast": 0.094,
}
REFRESH = (1, 4, 8)


def settings(tokens: int, steps: int) -> Settings:
    """Each allocation in token order and with like keys together, beside block-sparse attention."""
    found = Settings()
    base = Base(tokens, steps, 1.0)
    for label, (ratios, tail) in ALLOCATIONS.items():
        table = f"like keys, {label}"
        config = base.config({1: 1}, "none").replace(
            mask_ratios=ratios, tail=tail, second_moment=True, importance="sub_block",
        )  # fmt: skip
        rows = [("token order", config)]
        for refresh in REFRESH:
            each = "each step" if refresh == 1 else f"every {refresh} steps"
            rows.append(
                (f"like keys, anew {each}", config.replace(grouping="similar", refresh=refresh))
            )
        if label in BLOCK_SPARSE:
            share = round(BLOCK_SPARSE[label], 4)
            dropping = {1: (0, share), 0: (share, 1)}
            rows.append(
                ("block-sparse",
                 config.replace(mask_ratios=dropping, tail="none", second_moment=False))
            )  # fmt: skip
        first = f"{table}: {rows[0][0]}"
        for name, each in rows:
            key = f"{table}: {name}"
            against = "" if key == first else first
            found.rows.append(Setting(key, LIKE_KEYS, table, name, each, against))
    return found
