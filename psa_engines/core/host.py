"""What the core needs to know of the engine that calls it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .faults import clear_frames, one_line

log = logging.getLogger("PSA")


@dataclass(frozen=True)
class Host:
    """stops        exceptions by which its user ends a run: PSA lets them pass
    empty_cache  gives the memory that is cached for tensors back to the devices
    self_test    how a user calls the self-test, as the subject of a sentence
    """

    stops: tuple[type[BaseException], ...] = ()
    empty_cache: Callable[[], None] = torch.cuda.empty_cache
    self_test: str = "python -m psa_kernels.selftest"

    def let_go(self, error: BaseException) -> None:
        """Gives back the memory of what failed: the dense attention that comes next needs it."""
        clear_frames(error)
        try:
            self.empty_cache()
        except Exception as failed:  # a device in a state that only its next real call can tell of
            log.warning("PSA could not free cached memory (%s)", one_line(failed))
