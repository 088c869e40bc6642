"""What estimates and previews need to know of each shipped family's model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sound:
    """A second stream of tokens in the same blocks, which attends to the video and the video to it.

    width   of its blocks and of all attention that it takes part in
    ffn     hidden size of its feed-forward net
    tokens  for each frame of the video's token grid
    """

    width: int
    ffn: int
    tokens: float


@dataclass(frozen=True)
class Model:
    """heads, head_dim   of its self-attention, as in the published weights' config.json
    comfy   its class in `comfy.supported_models`, whose sampling settings count
    kind    its `comfy.model_base.ModelType`
    blocks  transformer blocks with self-attention over the video; 0: not known
    ffn     hidden size of a block's feed-forward net (of a gated one 1.5 times it: three matrices
            instead of two); 0: not known
    cross   tokens that the video attends to by cross-attention; 0: none, text is in the sequence
    size    which model of a family that holds several; "" where there is one
    hidden  width of its blocks; 0: that of its attention, `dim`
    sound   a stream of sound beside the video's
    assumed  what these figures take for granted, said with all that is counted from them
    """

    heads: int
    head_dim: int
    comfy: str
    kind: str
    blocks: int = 0
    ffn: int = 0
    cross: int = 0
    size: str = ""
    hidden: int = 0
    sound: Sound | None = None
    assumed: str = ""

    @property
    def dim(self) -> int:
        return self.heads * self.head_dim

    @property
    def width(self) -> int:
        return self.hidden or self.dim

    @property
    def sizes(self) -> tuple:
        """What the time of a step depends on."""
        return (
            self.heads, self.head_dim, self.blocks, self.ffn, self.cross, self.width, self.sound,
        )  # fmt: skip

    @property
    def note(self) -> str:
        return f"counted for {self.size}; the family's other models differ" if self.size else ""


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
    "LTX-Video": Model(32, 128, "LTXV", "FLUX", 48, 16384, 128, "LTX-Video 13B"),
    # the sound has 25 tokens a second, the video 8 frames to a frame of the grid
    "LTX-2": Model(
        32, 128, "LTXAV", "FLUX", 48, 16384, 1024, sound=Sound(2048, 8192, 8),
        assumed="with the sound of a video of 25 frames a second",
    ),
    "Mochi": Model(24, 128, "GenmoMochi", "FLOW", 48, 12288),
    "Cosmos-Predict2": Model(
        40, 128, "CosmosT2IPredict2", "FLOW_COSMOS", 36, 20480, 512, "Cosmos-Predict2 14B"
    ),
    # its text varies; 256 tokens are the longest in its published configuration
    "Kandinsky5": Model(
        28, 64, "Kandinsky5", "FLOW", 32, 7168, 256, "Kandinsky 5 lite",
        assumed="with 256 tokens of text",
    ),
    "Qwen-Image": Model(24, 128, "QwenImage", "FLUX", 60, 12288),
    "Flux": Model(24, 128, "Flux", "FLUX", 57, 12288, size="Flux.1"),
    # gated: 14336; wider inside attention than outside; its sound is in the sequence
    "MiniMax-H3": Model(56, 128, "MiniMaxH3", "FLOW_AV", 50, 21504, hidden=5376),
    "Small_Wan": Model(4, 128, "WAN21_T2V", "FLOW", 8, 1536, 6),  # examples/small_wan
}
