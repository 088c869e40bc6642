"""PSA in LightX2V, on one GPU or several: an attention class that its JSON selects.

    "self_attn_1_type": "psa",
    "psa_setting": {"preset": "Wan2.1_14b/balanced"}

After `pip install .` LightX2V finds `register` by itself, among its platform plugins. Its Ulysses
wrapper asks the class after its exchange, with all tokens of some heads. docs/several-gpus.md
"""

from __future__ import annotations

import sys

NAME = "psa"


def register() -> None:
    """Puts the class into LightX2V's registry, under "psa". Twice is once."""
    from lightx2v_platform.ops.attn.template import AttnWeightTemplate
    from lightx2v_platform.registry_factory import PLATFORM_ATTN_WEIGHT_REGISTER

    from .attention import PSAAttention

    class PSAAttnWeight(PSAAttention, AttnWeightTemplate):
        """What LightX2V asks of an attention beside `apply` is its template's: there is nothing to
        load."""

    registries = [PLATFORM_ATTN_WEIGHT_REGISTER]
    # merged into this one when it is loaded, which may be over
    if main := sys.modules.get("lightx2v.utils.registry_factory"):
        registries.append(main.ATTN_WEIGHT_REGISTER)
    for registry in registries:
        if NAME not in registry:
            registry.register(PSAAttnWeight, key=NAME)
