"""Makes this checkout importable by tests without installing it.

The repository root must never be on `sys.path`: our `nodes/` would shadow ComfyUI's top-level
module `nodes`.  So the root is exposed as the package `psa_pack` (its `__init__.py`, which needs
ComfyUI, is not run), and three parts of it also answer to the names users know:

    from psa_kernels import PSAConfig        # the library, as after `pip install .`
    from psa_presets import PresetStore      # our `presets/`
    from psa_engines.core import schedule    # the neutral core and its engines
    from psa_pack.nodes.patching import ...  # anything else; needs the `comfy_inproc` fixture

All spellings give the same module objects, so classes compare equal whichever way they came.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACK = "psa_pack"
ALIASES = {
    "psa_kernels": f"{PACK}.psa_kernels",
    "psa_presets": f"{PACK}.presets",
    "psa_engines": f"{PACK}.psa_engines",
}


class _PackFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path=None, target=None):
        if fullname == PACK:
            spec = importlib.machinery.ModuleSpec(PACK, self, is_package=True)
            spec.submodule_search_locations = [str(ROOT)]
            return spec
        head, _, _ = fullname.partition(".")
        if head not in ALIASES:
            return None
        real_name = ALIASES[head] + fullname[len(head) :]
        if _spec_of(real_name) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, loader_state=real_name)

    def create_module(self, spec):
        if spec.name == PACK:
            return None
        # the import system overwrites __spec__ of what we return; exec_module puts it back
        module = importlib.import_module(spec.loader_state)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        alias = module.__spec__
        if alias.name != PACK:
            module.__spec__ = alias.loader_state


def _spec_of(name):
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None


def install():
    """Expose the pack, and take the repository root off `sys.path` (`python -m pytest` adds it)."""
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]
    if not any(isinstance(finder, _PackFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PackFinder())
