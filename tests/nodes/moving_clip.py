"""A small clip in which something moves."""

import torch


def moving(frames=4, height=64, width=64):
    """A disc that crosses a gradient: `[frames, H, W, 3]`."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    clip = []
    for i in range(frames):
        disc = ((x - 0.2 - 0.6 * i / max(1, frames - 1)) ** 2 + (y - 0.5) ** 2 < 0.03).float()
        clip.append(torch.stack((0.2 + 0.5 * x, 0.3 + 0.4 * disc, 0.6 * y), -1))
    return torch.stack(clip)
