"""LPIPS, where the package `lpips` and its weights are already on this machine.

Nothing is ever downloaded: without the backbone's weights (AlexNet) in torchvision's cache, there
is no LPIPS.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

import torch

SMALLEST = 32  # pixels; on less, nothing reaches AlexNet's last layers


def unavailable() -> str | None:
    """Why there is no LPIPS here, or None."""
    for package in ("lpips", "torchvision"):
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed"
    try:
        path = _weights()
    except Exception as error:  # another version of torchvision, or one that does not load
        return f"torchvision does not say where AlexNet's weights are ({error})"
    if not path.is_file():
        return f"AlexNet's weights are not on this machine ({path})"
    return None


def _weights() -> Path:
    from torchvision.models import AlexNet_Weights

    name = Path(urlparse(AlexNet_Weights.IMAGENET1K_V1.url).path).name
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def load(device: torch.device) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """(frames `[n, 3, H, W]` in 0..1, the same) -> `[n]`; only if `unavailable()` is None."""
    import lpips

    net = lpips.LPIPS(net="alex", verbose=False).eval().to(device)

    def distances(reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return net(reference, other, normalize=True).flatten().cpu()

    return distances
