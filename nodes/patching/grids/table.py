"""Model class -> the function that reads its layout."""

from __future__ import annotations

from collections.abc import Callable

from ....psa_engines.core.token_grid import TokenGrid
from .auraflow import auraflow
from .cogvideox import cogvideox
from .cosmos import cosmos
from .flux import chroma, flux
from .hidream import hidream
from .hunyuan import hunyuan
from .joyimage import joyimage
from .kandinsky import kandinsky
from .krea2 import krea2
from .latent_pixels import ideogram4, mage_flow
from .lightricks import ltx
from .lumina import lumina
from .minimax import minimax
from .mochi import mochi
from .model_call import ModelCall
from .omnigen import boogu, omnigen2
from .pixeldit import pixeldit
from .qwen_image import qwen_image
from .sd3 import sd3
from .wan import animate, animate2, camera, dancer, humo, s2v, scail, vace, wan

READERS: dict[str, Callable[[ModelCall], TokenGrid | None]] = {
    "comfy.ldm.wan.model.WanModel": wan,
    "comfy.ldm.wan.model.CameraWanModel": camera,
    "comfy.ldm.wan.model.VaceWanModel": vace,
    "comfy.ldm.wan.model.WanModel_S2V": s2v,
    "comfy.ldm.wan.model.HumoWanModel": humo,
    "comfy.ldm.wan.model.SCAILWanModel": scail,
    "comfy.ldm.wan.model.SCAIL2WanModel": scail,
    "comfy.ldm.wan.model_animate.AnimateWanModel": animate,
    "comfy.ldm.wan.model_animate2.WanAnimate2Model": animate2,
    "comfy.ldm.wan.model_wandancer.WanDancerModel": dancer,
    "comfy.ldm.cogvideo.model.CogVideoXTransformer3DModel": cogvideox,
    "comfy.ldm.cosmos.model.GeneralDIT": cosmos,
    "comfy.ldm.cosmos.predict2.MiniTrainDIT": cosmos,
    "comfy.ldm.anima.model.Anima": cosmos,
    "comfy.ldm.genmo.joint_model.asymm_models_joint.AsymmDiTJoint": mochi,
    "comfy.ldm.kandinsky5.model.Kandinsky5": kandinsky,
    "comfy.ldm.hunyuan_video.model.HunyuanVideo": hunyuan,
    "comfy.ldm.lightricks.model.LTXVModel": ltx,
    "comfy.ldm.lightricks.av_model.LTXAVModel": ltx,
    "comfy.ldm.minimax.model.MiniMaxH3Model": minimax,
    "comfy.ldm.qwen_image.model.QwenImageTransformer2DModel": qwen_image,
    "comfy.ldm.flux.model.Flux": flux,
    "comfy.ldm.chroma.model.Chroma": chroma,
    "comfy.ldm.chroma_radiance.model.ChromaRadiance": chroma,
    "comfy.ldm.lumina.model.NextDiT": lumina,
    "comfy.ldm.lumina.model.NextDiTPixelSpace": lumina,
    "comfy.ldm.omnigen.omnigen2.OmniGen2Transformer2DModel": omnigen2,
    "comfy.ldm.boogu.model.BooguTransformer2DModel": boogu,
    "comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper": sd3,
    "comfy.ldm.aura.mmdit.MMDiT": auraflow,
    "comfy.ldm.pixeldit.model.PixDiT_T2I": pixeldit,
    "comfy.ldm.pixeldit.pid.PidNet": pixeldit,
    "comfy.ldm.hidream.model.HiDreamImageTransformer2DModel": hidream,
    "comfy.ldm.krea2.model.SingleStreamDiT": krea2,
    "comfy.ldm.joyimage.model.JoyImageTransformer3DModel": joyimage,
    "comfy.ldm.mage_flow.model.MageFlowTransformer2DModel": mage_flow,
    "comfy.ldm.ideogram4.model.Ideogram4Transformer2DModel": ideogram4,
}


def token_grid(call: ModelCall) -> TokenGrid | None:
    """The layout of this call's self-attention, or None where it is unknown."""
    kind = type(call.diffusion_model)
    reader = READERS.get(f"{kind.__module__}.{kind.__qualname__}")
    return None if reader is None else reader(call)
