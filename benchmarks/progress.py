"""Lines that say how far a long run has come."""

from __future__ import annotations

import time
from collections.abc import Callable


def since(begin: float) -> Callable[[str], None]:
    """say(text): prints it after the seconds since `begin`, a `time.monotonic()`."""

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begin:5.0f} s] {text}", flush=True)

    return say
