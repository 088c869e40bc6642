"""Pictures to train on that no archive has to be fetched for: plain, but each with a name."""

import torch

from psa_pack.tools.small_wan import assets, tracks
from psa_pack.tools.small_wan.conditions import PHOTOGRAPHS, SHAPES

SIDE = 32


def disc() -> torch.Tensor:
    """[SIDE, SIDE] alpha of a disc that fills a cut-out's part of its cell."""
    place = torch.linspace(-1, 1, SIDE)
    return (torch.hypot(place[:, None], place) < tracks.CONTENT).float()


def made_up_pictures() -> assets.Assets:
    """Black places, grey textures, and discs in a colour of each cut-out's own."""
    flat = torch.zeros(len(assets.FLAT_NAMES), 3, SIDE, SIDE)
    flat[len(PHOTOGRAPHS) :] = 0.5
    count = len(assets.CUTOUT_NAMES)
    colours = 0.5 + 0.5 * torch.rand(count, 3, generator=torch.Generator().manual_seed(7))
    colours[-len(SHAPES) :] = 1
    cutouts = torch.cat(
        [
            colours[:, :, None, None].expand(-1, -1, SIDE, SIDE),
            disc().expand(count, 1, SIDE, SIDE),
        ],
        dim=1,
    )
    return assets.assemble(flat, cutouts, torch.full((len(flat),), 1.5))
