"""What this package takes of `psa_kernels`, wherever both are.

Inside the pack, which ComfyUI loads under a name of its own, they are siblings under that name;
after `pip install .` both are at the top, this package as `psa_presets`.
"""

if __package__ == "psa_presets":
    from psa_kernels.config import FIELDS, Issue, Mend, OddNumber, PSAConfig, advice, readings
else:
    from ..psa_kernels.config import FIELDS, Issue, Mend, OddNumber, PSAConfig, advice, readings

__all__ = ["FIELDS", "Issue", "Mend", "OddNumber", "PSAConfig", "advice", "readings"]
