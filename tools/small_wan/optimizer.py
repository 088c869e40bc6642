"""Muon, for the matrices; torch's AdamW takes everything else.

Muon: momentum, orthogonalised by a Newton-Schulz iteration, then scaled to the size an Adam step
has, so that both share one learning rate.  Matrices of one shape are handled as one batch, which
keeps the step short for a model of many small ones (torch.optim.Muon goes one by one).
Jordan et al. 2024, https://kellerjordan.github.io/posts/muon.
The scale: Liu et al. 2025, arXiv 2502.16982.
"""

from __future__ import annotations

import torch

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalised(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """[N, R, C] -> the nearest matrices with singular values near 1."""
    a, b, c = _NEWTON_SCHULZ
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = x.bfloat16() if x.is_cuda else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).to(matrices.dtype)


class Muon:
    """Over {name: float32 tensor}; every tensor a matrix."""

    def __init__(self, weights: dict[str, torch.Tensor], momentum: float = 0.95):
        self.momentum = momentum
        shapes = sorted({tuple(weight.shape) for weight in weights.values()})
        self.groups = {
            shape: [name for name, weight in weights.items() if tuple(weight.shape) == shape]
            for shape in shapes
        }
        self.weights = weights
        self.moments = {
            shape: torch.zeros(len(names), *shape, device=weights[names[0]].device)
            for shape, names in self.groups.items()
        }

    def step(self, gradients: dict[str, torch.Tensor], rate: float, decay: float) -> None:
        for shape, names in self.groups.items():
            gradient = torch.stack([gradients[name] for name in names]).float()
            moment = self.moments[shape].lerp_(gradient, 1 - self.momentum)
            update = orthogonalised(gradient.lerp(moment, self.momentum))
            weights = [self.weights[name] for name in names]
            torch._foreach_mul_(weights, 1 - rate * decay)
            size = 0.2 * max(shape) ** 0.5
            torch._foreach_add_(weights, list(update.unbind()), alpha=-rate * size)

    def state(self) -> dict[str, torch.Tensor]:
        return {
            f"muon.{name}": moment
            for shape, names in self.groups.items()
            for name, moment in zip(names, self.moments[shape], strict=True)
        }

    def load(self, state: dict[str, torch.Tensor]) -> None:
        for shape, names in self.groups.items():
            for slot, name in enumerate(names):
                self.moments[shape][slot].copy_(state[f"muon.{name}"])


def is_matrix(name: str, weight: torch.Tensor) -> bool:
    """Whether Muon takes it: every matrix but the model's last, which writes the output itself."""
    return weight.ndim == 2 and not name.startswith("head.")
