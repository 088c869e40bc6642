"""The fastest settings of the kernels on this GPU: `python -m psa_kernels.tune` measures them.

It writes the file that `psa_kernels.measured` reads. `tune_apart` does the same in a separate
process, which a host can end.
"""

from .apart import NAME, tune_apart

__all__ = ["NAME", "tune_apart"]
