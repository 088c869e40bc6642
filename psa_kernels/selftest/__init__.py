"""Does PSA work on this machine?  `python -m psa_kernels.selftest`, or `run_selftest()`.

The report names what is missing and how to get it. Nothing here needs Triton or a GPU. `run_apart`
gives the same report from a separate process, which a broken driver may kill.
"""

from .apart import run_apart
from .report import Check, Report
from .run import run_selftest

__all__ = ["Check", "Report", "run_apart", "run_selftest"]
