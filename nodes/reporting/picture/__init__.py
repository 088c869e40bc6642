"""The report as a picture."""

from .page import picture_of

__all__ = ["picture_of"]
