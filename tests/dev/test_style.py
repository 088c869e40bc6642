"""ruff finds nothing wrong in the code, and nothing to format."""

import subprocess
import sys

import pytest

from ..pack_import import ROOT


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_is_content(command):
    pytest.importorskip("ruff", reason="ruff is not installed")
    # in a folder of any name: N999 is about the root's
    run = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
    if command == ("check",):
        run += ["--ignore", "N999"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
