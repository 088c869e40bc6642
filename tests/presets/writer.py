"""A process of its own that saves presets: `python writer.py USER_DIR PRESET COUNT`.

COUNT 0: two contents in turn, for ever. Otherwise COUNT presets named PRESET-0, PRESET-1, ...
"""

import importlib
import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(user_dir: str, preset: str, count: int) -> None:
    importlib.import_module("pack_import").install()
    presets = importlib.import_module("psa_presets")
    sys.modules["psa_pack.presets.files"].LOCK_TIMEOUT = 600.0  # however slowly the other one saves
    config = importlib.import_module("psa_kernels.config").PSAConfig
    store = presets.PresetStore(presets.SHIPPED_DIR, user_dir)
    print("ready", flush=True)
    sys.stdin.readline()
    if count:
        for i in range(count):
            store.save("Wan2.1_14b", f"{preset}-{i}", config(warmup_steps=i))
    for steps in itertools.cycle((1, 2)) if not count else ():
        description = "x" * 2_000 * steps
        store.save("Wan2.1_14b", preset, config(warmup_steps=steps, description=description))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
