"""Settings of the part "falling": budgets that fall with the steps, beside one budget for all at
no less cost over the run (docs/semantics.md, "Budgets by step")."""

from __future__ import annotations

from .settings import FALLING, Base, Setting, Settings

# nothing is dropped in any of them: what is not full is pooled
HALF = {"mask_ratios": {1: [0, 0.41], 8: [0.41, 1]}, "tail": "none"}
FAITHFUL = {"mask_ratios": {1: [0, 0.235], 8: [0.235, 1]}, "tail": "none"}
BALANCED = {"mask_ratios": {1: [0, 0.12], 8: [0.12, 0.48], 0: [0.48, 1]}, "tail": 128}
FAST = {"mask_ratios": {1: [0, 0.0625], 8: [0.0625, 0.2656], 0: [0.2656, 1]}, "tail": 128}
# label -> share of the run that begins dense, range -> settings; the rest of the run is FAST
PLANS = {
    "15% dense, half to 45%, faithful to 70%": (
        0.15, {"15-45%": HALF, "45-70%": FAITHFUL},
    ),
    "10% dense, half to 50%, faithful to 70%": (
        0.1, {"10-50%": HALF, "50-70%": FAITHFUL},
    ),
    "10% dense, half to 45%, faithful to 70%, balanced": (
        0.1, {"10-45%": HALF, "45-70%": FAITHFUL, "70-100%": BALANCED},
    ),
    "20% dense, half to 40%, faithful to 65%": (
        0.2, {"20-40%": HALF, "40-65%": FAITHFUL},
    ),
    "10% dense, half to 25%, faithful to 45%": (
        0.1, {"10-25%": HALF, "25-45%": FAITHFUL},
    ),
}  # fmt: skip
TODAY = 0.3  # of the steps, which the preset balanced leaves dense
SAME_COST = 0.272  # full blocks after 20% of dense steps: what TODAY costs with balanced after it


def settings(tokens: int, steps: int) -> Settings:
    base = Base(tokens, steps, 1.0)
    plain = base.config({1: 1}, "none").replace(second_moment=True, block_n=128)
    warm_up = round(TODAY * steps)
    rows = [
        ("balanced as it is", plain.replace(**BALANCED, warmup_steps=warm_up)),
        ("balanced, like keys",
         plain.replace(**BALANCED, warmup_steps=warm_up, grouping="similar")),
        ("block-sparse of the same cost",
         plain.replace(mask_ratios={1: (0, SAME_COST), 0: (SAME_COST, 1)}, second_moment=False)),
        ("block-sparse of the same shares",
         plain.replace(mask_ratios={1: (0, 0.169), 0: (0.169, 1)}, second_moment=False,
                       warmup_steps=warm_up)),
    ]  # fmt: skip
    for label, (dense, ranges) in PLANS.items():
        config = plain.replace(
            **FAST, grouping="similar", warmup_steps=round(dense * steps), steps=ranges
        )
        rows.append((label, config))
    found = Settings()
    for name, config in rows:
        against = "" if name == rows[0][0] else f"falling: {rows[0][0]}"
        found.rows.append(
            Setting(f"falling: {name}", FALLING, "budgets that fall", name, config, against)
        )
    return found
