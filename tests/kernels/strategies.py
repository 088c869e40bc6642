"""Random valid configurations for property tests."""

from hypothesis import strategies as st

LEVELS = (1, 2, 4, 8, 0)


@st.composite
def ratios(draw):
    """Valid `mask_ratios`; zero-width levels and absent levels are frequent."""
    levels = draw(st.lists(st.sampled_from(LEVELS), min_size=1, unique=True))
    levels = [level for level in LEVELS if level in levels]
    if levels == [0]:
        levels = [1, 0]
    count = len(levels) - 1
    cuts = draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))
    bounds = [0.0, *sorted(cut / 20 for cut in cuts), 1.0]
    if levels[-1] == 0 and bounds[-2] == 0.0:  # everything on level 0
        bounds[-2] = 0.05
    return {level: [bounds[i], bounds[i + 1]] for i, level in enumerate(levels)}


@st.composite
def arguments(draw):
    """Valid `PSAConfig` arguments over all fields and all of their values."""
    old = draw(st.booleans())
    n = 128 if old else draw(st.sampled_from([32, 64, 128]))
    sizes = [size for size in (8, 16, 32, 64, 128) if size <= n]
    threshold = st.floats(-1, 1)
    every = {
        "attn_impl": st.just("old_mask_type" if old else "new_mask_type"),
        "block_m": st.just(128) if old else st.sampled_from([64, 128]),
        "block_n": st.just(n),
        "tile_n": st.sampled_from([size for size in sizes if size >= 16]),
        "tail": st.sampled_from(["none", *sizes]),
        "use_sim_mask": st.booleans() if old else st.just(False),
        "mask_ratios": ratios(),
        "mask_mode": st.sampled_from(["topk", "thresholdbound"]),
        "sim_2x_threshold": threshold,
        "sim_4x_threshold": threshold,
        "sim_8x_threshold": threshold,
        "rearrange_method": st.sampled_from([None, "Gilbert", "STA", "SemanticAware", "Hybrid"]),
        "use_rearrange": st.booleans(),
        "tile_size": st.lists(st.integers(1, 1024), min_size=3, max_size=3),
        "importance": st.sampled_from(["sub_block", "exact"]),
        "second_moment": st.booleans(),
        "warmup_steps": st.integers(0, 1000),
        "type": st.sampled_from(["psa", "dense"]),
        "description": st.text(max_size=30),
        "verbose": st.booleans(),
    }
    return {name: draw(values) for name, values in every.items()}
