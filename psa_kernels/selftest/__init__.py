"""Does PSA work on this machine?  `python -m psa_kernels.selftest`, or `run_selftest()`.

The report names what is missing and how to get it. Nothing here needs Triton or a GPU.
"""

from .report import Check, Report
from .run import run_selftest

__all__ = ["Check", "Report", "run_selftest"]
