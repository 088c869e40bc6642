"""What stops a calibration."""

from __future__ import annotations


class CalibrationError(RuntimeError):
    """Said to the user as it is."""
