"""PSA in LightX2V, on one GPU or several: an attention class that LightX2V's JSON selects.

    "self_attn_1_type": "psa",
    "psa_setting": {"preset": "Wan2.1_14b/balanced"}

After `pip install .`, LightX2V finds `register` among its platform plugins. Its Ulysses wrapper
calls the class after the exchange, with all tokens of some heads. See docs/several-gpus.md.
"""

from __future__ import annotations

import sys

NAME = "psa"


def register() -> None:
    """Puts the class into LightX2V's registry under "psa". A second call changes nothing."""
    from lightx2v_platform.ops.attn.template import AttnWeightTemplate
    from lightx2v_platform.registry_factory import PLATFORM_ATTN_WEIGHT_REGISTER

    from .attention import PSAAttention

    class PSAAttnWeight(PSAAttention, AttnWeightTemplate):
        """All but `apply` comes from LightX2V's template: there are no weights to load."""

    registries = [PLATFORM_ATTN_WEIGHT_REGISTER]
    # LightX2V merges the first into this one when it loads it, which may be over already
    if main := sys.modules.get("lightx2v.utils.registry_factory"):
        registries.append(main.ATTN_WEIGHT_REGISTER)
    for registry in registries:
        if NAME not in registry:
            registry.register(PSAAttnWeight, key=NAME)
