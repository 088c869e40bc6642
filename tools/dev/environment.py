"""The virtual environment for one ComfyUI tree: made once, reused, repaired if interrupted."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

from .comfyui import ComfyUI, package_name
from .pip_bootstrap import make_venv, pip_command, venv_python
from .progress import SetupError, StepError, run_step, say

HERE = Path(__file__).resolve().parent
HARNESS_REQUIREMENTS = HERE / "requirements.txt"
PINS = HERE / "pins.txt"

# pip's words when a pin, not the network or the disk, is what stands in the way
PIN_TROUBLE = ("No matching distribution found", "ResolutionImpossible", "conflicting dependencies")


def read_requirements(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def wanted(comfyui: ComfyUI) -> tuple[list[str], list[str]]:
    """(requirements, pins): the tree's own `==` wins over a pin of ours."""
    tree = comfyui.requirements()
    fixed_by_tree = {package_name(line) for line in tree if "==" in line}
    pins = [p for p in read_requirements(PINS) if package_name(p) not in fixed_by_tree]
    return tree + read_requirements(HARNESS_REQUIREMENTS), pins


def venv_path(dev_dir: Path, requirements: list[str], pins: list[str]) -> Path:
    """Trees that need the same packages share one environment."""
    key = json.dumps([sys.version_info[:2], sorted(requirements), sorted(pins)])
    return dev_dir / f"venv-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def ensure(comfyui: ComfyUI, dev_dir: Path, log_file: Path) -> Path:
    """The interpreter of a complete environment for this tree."""
    requirements, pins = wanted(comfyui)
    venv = venv_path(dev_dir, requirements, pins)
    # written last: an environment without it was interrupted, and is made again
    marker = venv / ".complete"
    if marker.exists():
        return venv_python(venv)
    if venv.exists():
        say("an earlier set-up was interrupted; starting that part again")
    pip = pip_command(dev_dir, log_file)
    start = time.monotonic()
    try:
        python = _fill(venv, pip, requirements, pins, log_file)
        pinned = True
    except StepError as failure:
        reason = next((line for line in failure.tail if any(t in line for t in PIN_TROUBLE)), None)
        if reason is None:
            raise
        say(f"the pinned versions are not available here ({reason.strip()})")
        say("taking the versions that pip finds instead; results may differ slightly")
        python = _fill(venv, pip, requirements, [], log_file)
        pinned = False
    note = {"comfyui": comfyui.version, "pinned": pinned, "seconds": time.monotonic() - start}
    marker.write_text(json.dumps(note), encoding="utf-8")
    others = sorted(path.name for path in dev_dir.glob("venv-*") if path != venv)
    if others:
        say(f"for other ComfyUI trees or older pins, yours to delete: {', '.join(others)}")
    return python


def _fill(
    venv: Path, pip: list[str], requirements: list[str], pins: list[str], log_file: Path
) -> Path:
    python = make_venv(venv, log_file)
    (venv / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    (venv / "constraints.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    run_step(
        "installing torch and ComfyUI's requirements (about 3 GB; minutes, the first time only)",
        [*pip, "--python", str(python), "install", "--disable-pip-version-check",
         "--progress-bar", "off", "--prefer-binary",
         "-r", str(venv / "requirements.txt"), "-c", str(venv / "constraints.txt")],
        log_file,
    )  # fmt: skip
    return python


def check_given(python: Path, modules: dict[str, str]) -> None:
    """--python: the interpreter is used as it is, so say at once what it lacks."""
    if not python.is_file():
        raise SetupError(f"--python {python}: there is no such file")
    code = (
        "import importlib.util as u, sys; "
        "print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])"
    )
    result = subprocess.run([str(python), "-c", code, *modules], capture_output=True, text=True)
    if result.returncode != 0:
        raise SetupError(f"--python {python} does not run:\n{result.stderr.strip()}")
    missing = result.stdout.split()
    if missing:
        raise SetupError(
            f"--python {python} lacks: {', '.join(missing)}\n"
            "  Nothing is installed into an interpreter of yours. Install what is missing there:\n"
            f"    {python} -m pip install {' '.join(modules[m] for m in missing)}\n"
            "  or leave out --python to use an environment of this project's own."
        )
