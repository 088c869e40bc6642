"""Environments are made once, reused, and repaired after an interruption.  Real venvs, real pip."""

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from psa_pack.tools.dev import environment
from psa_pack.tools.dev.comfyui import ComfyUI
from psa_pack.tools.dev.pip_bootstrap import PIP_VERSION
from psa_pack.tools.dev.progress import SetupError, StepError

from ..pack_import import ROOT


def make_wheel(folder: Path, name: str, version: str) -> Path:
    """A minimal installable package, so that no test needs the network."""
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A ComfyUI tree that requires one tiny local package, and a dev folder with our pip in it."""
    pip = ROOT / ".dev" / f"pip-{PIP_VERSION}"
    if not (pip / ".complete").exists():
        pytest.skip("needs dev.py's own pip: run `python3 dev.py test`")
    dev_dir = tmp_path / ".dev"
    dev_dir.mkdir()
    (dev_dir / pip.name).symlink_to(pip, target_is_directory=True)
    make_wheel(tmp_path, "psatiny", "1.0")
    make_wheel(tmp_path, "psatiny", "2.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    for name in ("HARNESS_REQUIREMENTS", "PINS"):
        (tmp_path / name).write_text("")
        monkeypatch.setattr(environment, name, tmp_path / name)
    tree = tmp_path / "comfyui"
    tree.mkdir()
    (tree / "requirements.txt").write_text("psatiny\n")
    return World(ComfyUI(tree, "0.3.75", "test"), dev_dir, tmp_path)


class World:
    def __init__(self, comfyui: ComfyUI, dev_dir: Path, folder: Path):
        self.comfyui, self.dev_dir, self.folder = comfyui, dev_dir, folder
        self.log = folder / "setup.log"

    def ensure(self) -> Path:
        return environment.ensure(self.comfyui, self.dev_dir, self.log)

    def pin(self, *lines: str) -> None:
        (self.folder / "PINS").write_text("\n".join(lines))


def version_in(python: Path) -> str:
    command = [str(python), "-c", "import psatiny; print(psatiny.VERSION)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def marker_of(python: Path) -> Path:
    return python.parent.parent / ".complete"


def test_made_once_then_reused_and_made_again_if_interrupted(world, capsys):
    python = world.ensure()
    assert version_in(python) == "2.0"
    done = world.log.read_text()
    assert world.ensure() == python
    assert world.log.read_text() == done
    marker_of(python).unlink()
    for file in python.parent.parent.rglob("psatiny.py"):
        file.unlink()
    assert world.ensure() == python
    assert "interrupted" in capsys.readouterr().out
    assert version_in(python) == "2.0"
    assert marker_of(python).exists()


def test_pins_decide_the_version_and_the_environment(world):
    loose = world.ensure()
    world.pin("psatiny==1.0")
    pinned = world.ensure()
    assert pinned != loose
    assert version_in(pinned) == "1.0"


def test_the_trees_own_exact_version_wins_over_a_pin(world):
    world.pin("psatiny==1.0")
    (world.comfyui.path / "requirements.txt").write_text("psatiny==2.0\n")
    assert version_in(world.ensure()) == "2.0"


def test_a_pin_that_cannot_be_had_is_said_and_let_go(world, capsys):
    world.pin("psatiny==9.9")
    python = world.ensure()
    assert version_in(python) == "2.0"
    assert "pinned versions are not available" in capsys.readouterr().out
    assert json.loads(marker_of(python).read_text())["pinned"] is False


def test_a_failure_says_what_to_do_and_leaves_no_marker(world):
    (world.comfyui.path / "requirements.txt").write_text("psa-no-such-package\n")
    with pytest.raises(StepError) as error:
        world.ensure()
    assert "psa-no-such-package" in str(error.value)
    assert "run the same command again" in str(error.value)
    assert not list(world.dev_dir.glob("venv-*/.complete"))


def test_pins_are_exact():
    for line in environment.read_requirements(ROOT / "tools" / "dev" / "pins.txt"):
        name, version = line.split("==")
        assert name == environment.package_name(name)
        assert version[0].isdigit()


def test_a_given_interpreter_is_checked_and_left_alone(world):
    python = world.ensure()
    before = sorted(python.parent.parent.rglob("*"))
    environment.check_given(python, {"psatiny": "psatiny"})
    with pytest.raises(SetupError, match="pip install pillow"):
        environment.check_given(python, {"psatiny": "psatiny", "PIL": "pillow"})
    with pytest.raises(SetupError, match="no such file"):
        environment.check_given(world.folder / "nowhere", {})
    assert sorted(python.parent.parent.rglob("*")) == before
