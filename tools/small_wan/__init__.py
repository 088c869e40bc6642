"""A video model of 34 M parameters in Wan 2.1's layout, trained on photographs and objects.

`python -m tools.small_wan` trains it, samples from it and writes the file that is shipped.  What a
clip shows is drawn here and rendered while the model trains: `conditions` reads prompts, `assets`
holds the pictures (`python -m tools.small_wan.pack` packs them), `scenes` draws all that is random
and `render` makes the pixels.  DATA.md lists the pictures' sources and licences.
"""


async def comfy_entrypoint():
    """This folder is a node pack too, for the demo; ComfyUI asks for it here."""
    from .comfy_nodes import SmallWanNodes

    return SmallWanNodes()
