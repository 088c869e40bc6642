"""What PSA does to clips of the small trained Wan, sampled by ComfyUI in this process.

benchmarks/README.md says what is measured, and how; `python3 dev.py quality` measures it.
"""

import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# The repository's root as a package, under the name that the tests use too: `nodes` imports from
# its parent, and by itself its name belongs to a module of ComfyUI's.
if "psa_pack" not in sys.modules:
    _pack = types.ModuleType("psa_pack")
    _pack.__path__ = [str(ROOT)]
    sys.modules["psa_pack"] = _pack
