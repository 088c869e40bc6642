"""What estimates and previews need to know of each shipped family's model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """heads, head_dim   of its self-attention, as in the published weights' config.json
    comfy   its class in `comfy.supported_models`, whose sampling settings count
    kind    its `comfy.model_base.ModelType`
    """

    heads: int
    head_dim: int
    comfy: str
    kind: str


MODELS = {
    "Wan2.1_1.3b": Model(12, 128, "WAN21_T2V", "FLOW"),
    "Wan2.1_14b": Model(40, 128, "WAN21_T2V", "FLOW"),
    "Wan2.2_5B": Model(24, 128, "WAN22_T2V", "FLOW"),
    "Wan2.2_A14B": Model(40, 128, "WAN21_T2V", "FLOW"),
    "CogVideo_5b": Model(48, 64, "CogVideoX_T2V", "V_PREDICTION_DDPM"),
    "CogVideo1.5_5b": Model(48, 64, "CogVideoX_T2V", "V_PREDICTION_DDPM"),
    "Tiny_Wan": Model(2, 128, "WAN21_T2V", "FLOW"),  # examples/tiny_wan
}
