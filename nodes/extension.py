"""The pack's nodes, as ComfyUI's loader asks for them."""

from comfy_api.latest import ComfyExtension, io

from .apply_psa import PSAApply
from .calibrate import PSACalibrate
from .compare_clips import PSACompare
from .preset_editor import PSAPresetEditor
from .preset_loader import PSAPresetLoader
from .report import PSAReport
from .selftest import PSASelfTest

NODES = (
    PSAPresetLoader, PSAApply, PSAPresetEditor, PSAReport, PSACompare, PSASelfTest, PSACalibrate,
)  # fmt: skip


class PSAExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)
