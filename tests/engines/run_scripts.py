"""Makes a tiny model of an engine and runs that engine's script with it, once for each command.

    python run_scripts.py diffusers FOLDER

FOLDER/commands.json: {name: arguments}; in them {model} and {folder} stand for what they say. What
each printed and gave back goes to FOLDER/outcomes.json. In one process, since importing an engine
takes longer than everything else; as in a process of its own, the script is run as `__main__`.
"""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent.parent / "examples" / "inference"


def run(script, arguments, missing=None):
    """{"code", "out", "err"} of the script; `missing` is a package that it does not find."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    kept = sys.argv, dict(sys.modules)
    sys.argv = [str(script), *arguments]
    if missing:
        sys.modules[missing] = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = kept[0]
        if missing:
            sys.modules[missing] = kept[1].get(missing)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def main(engine, folder):
    sys.path.insert(0, str(HERE.parent))
    import pack_import

    pack_import.install()
    sys.path.insert(0, str(HERE))
    import torch

    torch.manual_seed(0)
    model = folder / "model"
    if engine == "diffusers":
        from saved_models import save_cogvideox as save
    else:
        from saved_models import save_qwen as save
    save(model)
    outcomes = {}
    for name, arguments in json.loads((folder / "commands.json").read_text()).items():
        given = [text.format(model=model, folder=folder) for text in arguments]
        missing = {"without the engine": engine, "without PyAV": "av"}.get(name)
        outcomes[name] = run(SCRIPTS / f"{engine}_video.py", given, missing)
    (folder / "outcomes.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
