"""What this package imports from `psa_kernels` and the presets, wherever they are.

Inside the pack, which ComfyUI loads under a name of its own, they are siblings under that name;
after `pip install .` all are at the top. Everything else imports from here.
"""

if __package__ == "psa_engines":
    from psa_kernels import (
        NoKernelsError,
        OrderState,
        PSAConfig,
        Stats,
        psa_attention,
        release_orders,
    )
    from psa_kernels.config import DENSE, LEVELS, StepRanges, range_text
    from psa_kernels.layout import check_causal
    from psa_kernels.stats import mass_shares
    from psa_kernels.triton.compilations import compiled_kernels
    from psa_presets import Family, PresetInfo, PresetStore, over_shipped
else:
    from ..presets import Family, PresetInfo, PresetStore, over_shipped
    from ..psa_kernels import (
        NoKernelsError,
        OrderState,
        PSAConfig,
        Stats,
        psa_attention,
        release_orders,
    )
    from ..psa_kernels.config import DENSE, LEVELS, StepRanges, range_text
    from ..psa_kernels.layout import check_causal
    from ..psa_kernels.stats import mass_shares
    from ..psa_kernels.triton.compilations import compiled_kernels

__all__ = [
    "DENSE",
    "LEVELS",
    "Family",
    "NoKernelsError",
    "OrderState",
    "PSAConfig",
    "PresetInfo",
    "PresetStore",
    "Stats",
    "StepRanges",
    "check_causal",
    "compiled_kernels",
    "mass_shares",
    "over_shipped",
    "psa_attention",
    "range_text",
    "release_orders",
]
