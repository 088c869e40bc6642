"""Stage 1: the token order (section 1)."""

from __future__ import annotations

from ..reference import reorder

__all__ = ["reorder"]
