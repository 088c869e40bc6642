"""`python -m psa_kernels.selftest` on machines with something broken."""

import os
import re
import subprocess
import sys

import pytest

from ..pack_import import ROOT
from .broken_triton import failing_import, failing_launch


def selftest(path=None, *arguments, **environment):
    command = [sys.executable, "-m", "psa_kernels.selftest", *arguments]
    env = {**os.environ, "PYTHONPATH": str(path or ""), "OMP_NUM_THREADS": "1", **environment}
    # the faults lie before any real kernel, so the interpreter stands in for a GPU
    env.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        command, cwd=ROOT, env={**env, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    # lines are wrapped for reading
    return done.returncode, re.sub(r"\s+", " ", done.stdout), done.stdout + done.stderr


FAULTS = {
    "import that raises anything": (
        failing_import,
        "raise AttributeError('module llvm has no attribute init_targets')",
        ["FAILED Triton imports", "init_targets"],
    ),
    "no C compiler": (
        failing_launch,
        "raise RuntimeError('Failed to find C compiler. Please specify via CC variable.')",
        ["FAILED Triton compiles and launches", "no C compiler was found", "apt install gcc"],
    ),
    "wrong numbers": (failing_launch, "out.fill_(1.0)", ["result is wrong", "rel-L2"]),
    "nothing written": (failing_launch, "pass", ["result is wrong", "nan"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named(fault, tmp_path):
    make, statement, expected = FAULTS[fault]
    code, text, everything = selftest(make(tmp_path, statement), TRITON_INTERPRET="1")
    assert code == 1
    for words in expected:
        assert words in text
    assert "Traceback" not in everything
    # what does not need Triton was checked all the same
    assert "ok torch reference on the CPU" in text
    assert "run on the torch reference" in text


def test_verbose_shows_the_traceback_and_every_case(tmp_path):
    path = failing_launch(tmp_path, "raise RuntimeError('Failed to find C compiler.')")
    code, text, _ = selftest(path, "--verbose", TRITON_INTERPRET="1")
    assert code == 1
    assert "Traceback" in text and "in launch" in text
    assert "ok causal" in text


def test_without_a_gpu_only_the_reference_runs():
    code, text, everything = selftest(TRITON_INTERPRET="0")
    assert code == 0, everything
    assert "no CUDA or ROCm GPU here" in text and "run on the torch reference" in text
    assert "Traceback" not in everything
