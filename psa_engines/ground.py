"""What this package takes of `psa_kernels`, wherever both are.

Inside the pack, which ComfyUI loads under a name of its own, they are siblings under that name;
after `pip install .` both are at the top. Everything else imports from here.
"""

if __package__ == "psa_engines":
    from psa_kernels.config import DENSE, StepRanges, range_text
else:
    from ..psa_kernels.config import DENSE, StepRanges, range_text

__all__ = ["DENSE", "StepRanges", "range_text"]
