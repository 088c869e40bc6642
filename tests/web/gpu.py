"""What the page shows on a machine with a GPU that none of the tests' has (tests/packs/gpu)."""

import json

from .. import measured_gpu


def on_gpu(comfy, measured=True):
    """The server's machine has that GPU, and it was measured or not."""
    folder = comfy.server.base / "user" / "default" / "psa"
    if measured:
        measured_gpu.write(folder / "measured.json")
    folder.mkdir(parents=True, exist_ok=True)
    # as a whole: the page may be asking already
    (folder / "new.json").write_text(json.dumps(measured_gpu.MACHINE), encoding="utf-8")
    (folder / "new.json").replace(folder / "test_gpu.json")
