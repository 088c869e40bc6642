"""Every model class of this ComfyUI has a layout that PSA knows, or is left out here."""

import inspect
import re

# class as ComfyUI's model_base writes it -> why PSA leaves it dense
LEFT_OUT = {
    **dict.fromkeys(
        ("UNetModel", "StageB", "StageC", "comfy.ldm.rt_detr.rtdetr_v4.RTv4",
         "comfy.ldm.sam3.detector.SAM3Model",
         "comfy.ldm.depth_anything_3.model.DepthAnything3Net"),
        "no transformer over a grid of tokens",
    ),
    **dict.fromkeys(
        ("comfy.ldm.ace.model.ACEStepTransformer2DModel",
         "comfy.ldm.ace.ace_step15.AceStepConditionGenerationModel",
         "comfy.ldm.audio.dit.AudioDiffusionTransformer",
         "comfy.ldm.minimax_music.dit.MiniMaxMusic3DiT"),
        "sound",
    ),
    **dict.fromkeys(
        ("comfy.ldm.hunyuan3d.model.Hunyuan3Dv2",
         "comfy.ldm.hunyuan3dv2_1.hunyuandit.HunYuanDiTPlain",
         "comfy.ldm.triposplat.model.LatentSeqMMFlowModel"),
        "shapes: its tokens lie on no grid",
    ),
    **dict.fromkeys(
        ("comfy.ldm.seedvr.model.NaDiT", "comfy.ldm.ernie.model.ErnieImageModel",
         "comfy.ldm.wan.ar_model.CausalWanModel", "comfy.ldm.pixart.pixartms.PixArtMS",
         "comfy.ldm.hydit.models.HunYuanDiT"),
        "its attention does not ask ComfyUI's override",
    ),
    "comfy.ldm.lens.model.LensTransformer2DModel": "all its attention is masked",
    "comfy.ldm.hidream_o1.model.HiDreamO1Transformer":
        "its image attends to the text as well, in calls of fewer queries than keys",
}  # fmt: skip


def test_no_model_is_left_out_unnoticed(comfy_inproc):
    import comfy.model_base

    from psa_pack.nodes.patching.grids.table import READERS

    source = inspect.getsource(comfy.model_base)
    classes = set(re.findall(r"unet_model=([\w.]+)", source)) - {"unet_model"}
    # one is imported by its name
    named = {reader.rpartition(".")[2]: reader for reader in READERS}
    classes = {named.get(name, name) for name in classes}
    assert len(classes) > 20
    assert not LEFT_OUT.keys() & READERS.keys()
    assert classes <= LEFT_OUT.keys() | READERS.keys()
