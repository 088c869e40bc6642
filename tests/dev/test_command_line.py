"""dev.py as it is typed."""

import os
import runpy
import subprocess
import sys

import pytest

from ..pack_import import ROOT


def dev(*args: str, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "dev.py"), *args]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **env}, timeout=600
    )


def test_help_names_the_commands():
    result = dev("--help")
    assert result.returncode == 0
    assert "demo" in result.stdout
    assert "test" in result.stdout


@pytest.mark.parametrize("args", [(), ("nothing",), ("demo", "--fast")])
def test_wrong_arguments(args):
    result = dev(*args)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_wrong_folder_is_one_message(tmp_path):
    for how, result in {
        "--comfyui": dev("demo", "--comfyui", str(tmp_path)),
        "COMFYUI_PATH": dev("test", COMFYUI_PATH=str(tmp_path)),
    }.items():
        assert result.returncode == 1
        assert f"{tmp_path} ({how}) is not a ComfyUI folder" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_wrong_interpreter_is_one_message(tmp_path, comfyui_path):
    result = dev("demo", "--comfyui", str(comfyui_path), "--python", str(tmp_path / "python"))
    assert result.returncode == 1
    assert "there is no such file" in result.stderr


@pytest.mark.parametrize(
    ("further", "processes"),
    [
        ([], 3),
        (["--require-browser"], 3),
        (["tests/kernels"], 1),
        (["--require-browser", "-k", "plan"], 1),
        (["--write-coverage", "docs"], 1),
        (["-n", "4"], 1),  # dev.py adds none: that is the asker's choice
    ],
)
def test_the_whole_suite_runs_in_three_processes(further, processes, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])  # dev.py puts its own folder there
    added = runpy.run_path(str(ROOT / "dev.py"))["side_by_side"](further)
    assert added == (["--numprocesses=3", "--dist=loadfile"] if processes == 3 else [])


def test_set_up_needs_the_standard_library_only():
    # -S: no site-packages; -I: nothing from the environment or the current folder
    result = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "dev.py"), "--help"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
