"""What estimates and previews need to know of each shipped family's model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """heads, head_dim   of its self-attention, as in the published weights' config.json
    comfy   its class in `comfy.supported_models`, whose sampling settings count
    kind    its `comfy.model_base.ModelType`
    blocks  transformer blocks with self-attention over the video; 0: not known
    ffn     hidden size of a block's feed-forward net (of a gated one 1.5 times it: three matrices
            instead of two); 0: not known
    cross   tokens that the video attends to by cross-attention; 0: none, text is in the sequence
    """

    heads: int
    head_dim: int
    comfy: str
    kind: str
    blocks: int = 0
    ffn: int = 0
    cross: int = 0

    @property
    def dim(self) -> int:
        return self.heads * self.head_dim


MODELS = {
    "Wan2.1_1.3b": Model(12, 128, "WAN21_T2V", "FLOW", 30, 8960, 512),
    "Wan2.1_14b": Model(40, 128, "WAN21_T2V", "FLOW", 40, 13824, 512),
    "Wan2.2_5B": Model(24, 128, "WAN22_T2V", "FLOW", 30, 14336, 512),
    "Wan2.2_A14B": Model(40, 128, "WAN21_T2V", "FLOW", 40, 13824, 512),
    "CogVideo_5b": Model(48, 64, "CogVideoX_T2V", "V_PREDICTION_DDPM", 42, 12288),
    "CogVideo1.5_5b": Model(48, 64, "CogVideoX_T2V", "V_PREDICTION_DDPM", 42, 12288),
    "Tiny_Wan": Model(2, 128, "WAN21_T2V", "FLOW", 6, 768, 6),  # examples/tiny_wan
}
