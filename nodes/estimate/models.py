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
    hidden  width of its blocks; 0: that of its attention
    more    elements of further matrices in a block that each token is multiplied by
    note    what was counted, where that is not the whole family or the whole model
    """

    heads: int
    head_dim: int
    comfy: str = ""
    kind: str = ""
    blocks: int = 0
    ffn: int = 0
    cross: int = 0
    hidden: int = 0
    more: int = 0
    note: str = ""

    def flops(self, length: float) -> tuple[float, float] | None:
        """(self-attention over `length` tokens, the rest of its blocks) of one evaluation, batch 1.

        Two FLOPs for each product of a matrix multiplication; embeddings, norms and activations
        are left out. None where its sizes are not known.
        """
        if not (self.blocks and self.ffn):
            return None
        dim = self.heads * self.head_dim
        width = self.hidden or dim
        # q, k, v, out; two layers of the feed-forward net
        rest = 2.0 * length * (4 * width * dim + 2 * width * self.ffn + self.more)
        if text := self.cross:
            # q and out for the video, k and v for the text, and the attention itself
            rest += 4.0 * (length + text) * width * dim + 4.0 * length * text * dim
        return self.blocks * 4.0 * length**2 * dim, self.blocks * rest


OTHERS = "counted for {}; the family's other models differ"
MODELS = {
    "Wan2.1_1.3b": Model(12, 128, "WAN21_T2V", "FLOW", 30, 8960, 512),
    "Wan2.1_14b": Model(40, 128, "WAN21_T2V", "FLOW", 40, 13824, 512),
    "Wan2.2_5B": Model(24, 128, "WAN22_T2V", "FLOW", 30, 14336, 512),
    "Wan2.2_A14B": Model(40, 128, "WAN21_T2V", "FLOW", 40, 13824, 512),
    "CogVideo_5b": Model(48, 64, "CogVideoX_T2V", "V_PREDICTION_DDPM", 42, 12288),
    "CogVideo1.5_5b": Model(48, 64, "CogVideoX_T2V", "V_PREDICTION_DDPM", 42, 12288),
    "HunyuanVideo": Model(24, 128, "HunyuanVideo", "FLOW", 60, 12288),
    "HunyuanVideo1.5": Model(16, 128, "HunyuanVideo15", "FLOW", 54, 8192),
    # the heads of the 2B model have 64
    "LTX-Video": Model(32, 128, "LTXV", "FLUX", 48, 16384, 128,
                       note=OTHERS.format("LTX-Video 13B")),
    # `more`: the video's side of the attention to the sound, 2048 wide, and of the sound to it
    "LTX-2": Model(32, 128, "LTXAV", "FLUX", 48, 16384, 1024, more=4 * 4096 * 2048,
                   note="the sound's own part, about 1%, is not counted"),
    "Mochi": Model(24, 128, "GenmoMochi", "FLOW", 48, 12288),
    "Cosmos-Predict2": Model(40, 128, "CosmosT2IPredict2", "FLOW_COSMOS", 36, 20480, 512,
                             note=OTHERS.format("Cosmos-Predict2 14B")),
    # its text varies; 256 tokens are the longest in its published configuration
    "Kandinsky5": Model(28, 64, "Kandinsky5", "FLOW", 32, 7168, 256,
                        note=OTHERS.format("Kandinsky 5 lite, with 256 tokens of text")),
    "Qwen-Image": Model(24, 128, "QwenImage", "FLUX", 60, 12288),
    "Flux": Model(24, 128, "Flux", "FLUX", 57, 12288, note=OTHERS.format("Flux.1")),
    # gated: 14336; wider inside attention than outside; its sound is in the sequence
    "MiniMax-H3": Model(56, 128, "MiniMaxH3", "FLOW_AV", 50, 21504, hidden=5376),
    "Small_Wan": Model(4, 128, "WAN21_T2V", "FLOW", 8, 1536, 6),  # examples/small_wan
}  # fmt: skip
