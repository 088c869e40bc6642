"""One pip of a known version that fills every environment under .dev/."""

import hashlib
import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

from .progress import SetupError, run_step, say

PIP_VERSION = "26.3"
PIP_WHEEL_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
SIMPLE_INDEX = "https://pypi.org/simple/pip/"


def venv_python(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make_venv(path: Path, log_file: Path, *, with_pip: bool = False) -> Path:
    """Makes a fresh venv at path, replacing what was there; returns its interpreter."""
    shutil.rmtree(path, ignore_errors=True)
    options = [] if with_pip else ["--without-pip"]
    run_step(
        "making a virtual environment",
        [sys.executable, "-m", "venv", *options, str(path)],
        log_file,
    )
    return venv_python(path)


def pip_command(dev_dir: Path, log_file: Path) -> list[str]:
    """The command of our pip; add `--python X` to act on another environment."""
    venv = dev_dir / f"pip-{PIP_VERSION}"
    command = [str(venv_python(venv)), "-m", "pip"]
    if (venv / ".complete").exists():
        return command
    python = make_venv(venv, log_file, with_pip=_has_ensurepip())
    source = (
        [str(python), "-m", "pip", "install", f"pip=={PIP_VERSION}"]
        if _has_ensurepip()
        else _install_from_wheel(python, _download_pip(dev_dir))
    )
    run_step(f"installing pip {PIP_VERSION}", source, log_file)
    (venv / ".complete").touch()
    return command


def _has_ensurepip() -> bool:
    """False on Debian and Ubuntu without the package python3-venv."""
    check = [sys.executable, "-c", "import ensurepip, sys; sys.exit(not ensurepip.version())"]
    return subprocess.run(check, capture_output=True).returncode == 0


def _install_from_wheel(python: Path, wheel: Path) -> list[str]:
    # a pip wheel can be run where it lies
    return [str(python), str(wheel / "pip"), "install", "--no-index", str(wheel)]


def _download_pip(dev_dir: Path) -> Path:
    name = f"pip-{PIP_VERSION}-py3-none-any.whl"
    say(f"this Python has no ensurepip; downloading {name} ...")
    try:
        accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
        with urllib.request.urlopen(urllib.request.Request(SIMPLE_INDEX, headers=accept)) as reply:
            files = {f["filename"]: f["url"] for f in json.load(reply)["files"]}
        with urllib.request.urlopen(urljoin(SIMPLE_INDEX, files[name])) as reply:
            content = reply.read()
        if hashlib.sha256(content).hexdigest() != PIP_WHEEL_SHA256:
            raise ValueError("the downloaded file has another checksum than expected")
    except (OSError, KeyError, ValueError) as error:
        raise SetupError(
            f"pip could not be downloaded: {error}\n"
            "  Install Python's venv support (Debian, Ubuntu: sudo apt install python3-venv) and "
            "run the same command again."
        ) from error
    wheel = dev_dir / name
    wheel.write_bytes(content)
    return wheel
