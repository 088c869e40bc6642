"""A small video model in Wan 2.1's layout, trained on procedural clips.

`python -m tools.tiny_wan` trains it, samples from it and looks at it.

`random_weights` is a separate model without training, for tests that need any Wan at all.
"""


async def comfy_entrypoint():
    """This folder is a node pack too, for the demo; ComfyUI asks for it here."""
    from .comfy_nodes import TinyWanNodes

    return TinyWanNodes()
