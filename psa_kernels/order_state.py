"""What one attention layer remembers from step to step of a sampling run."""

from __future__ import annotations

import torch


class OrderState:
    """The k-means centroids behind a semantic order (section 1).

    One object serves one attention layer in one run: it must not outlive the run, nor be shared by
    two layers or two branches of guidance, whose tokens have nothing to do with each other.
    The first call with a fresh state depends on its inputs alone.
    """

    def __init__(self) -> None:
        self._centroids: dict[str, torch.Tensor] = {}

    def reset(self) -> None:
        """Forgets everything: the next call starts a new run."""
        self._centroids.clear()

    def centroids(
        self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor | None:
        """The centroids kept for `name` ("q" or "k"), or None if there are none that fit.

        A call of another size, dtype or device cannot use the old ones; it starts afresh.
        """
        kept = self._centroids.get(name)
        if kept is None or (kept.shape, kept.dtype, kept.device) != (shape, dtype, device):
            return None
        return kept

    def keep(self, name: str, centroids: torch.Tensor) -> None:
        self._centroids[name] = centroids
