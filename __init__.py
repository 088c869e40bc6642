"""ComfyUI-PSA: pyramid sparse attention for video diffusion models.

ComfyUI loads this file; `psa_kernels` beside it is the algorithm and needs no ComfyUI.
"""

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint():
    from .nodes.extension import PSAExtension
    from .nodes.measuring import use_comfyuis_file
    from .nodes.routes import register_routes

    # Not in the extension's on_load, which ComfyUI 0.3.75 does not call.
    register_routes()
    use_comfyuis_file()
    return PSAExtension()
