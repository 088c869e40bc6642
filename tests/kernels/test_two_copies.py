"""One process may hold the library twice: inside the pack, and installed by itself."""

import subprocess
import sys

from ..pack_import import ROOT

BOTH = f"""
import importlib.util, sys
names = ("psa_kernels", "custom_nodes_ComfyUI_PSA")
for name in names:
    folder = {str(ROOT / "psa_kernels")!r}
    spec = importlib.util.spec_from_file_location(
        name, folder + "/__init__.py", submodule_search_locations=[folder]
    )
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
import torch
q = torch.randn(1, 1, 200, 8)
outs = [
    sys.modules[name].compiled.attention(
        q, q, q, sys.modules[name].compiled.described(sys.modules[name].PSAConfig()), [], [0, 0],
        False, 0.3,
    )
    for name in names
]
assert torch.equal(*outs)
# a second definition of the same name would take the first copy's calls
names = [sys.modules[name].compiled.attention._qualname for name in names]
print(len(set(names)))
"""


def test_both_copies_import_and_run():
    done = subprocess.run([sys.executable, "-c", BOTH], capture_output=True, text=True)
    assert done.stdout == "2\n", done.stderr
