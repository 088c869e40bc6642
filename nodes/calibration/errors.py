"""What stops a calibration."""

from __future__ import annotations


class CalibrationError(RuntimeError):
    """Its message is shown to the user as it is."""
