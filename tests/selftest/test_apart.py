"""The self-test in a process of its own, which may hang, crash or be cut off."""

import json
import sys
import time

import pytest
import torch

from psa_kernels import measured, own_process
from psa_kernels.measured import entries, place
from psa_kernels.selftest import Report, apart, run_apart
from psa_kernels.tune import tune_apart

from ..processes import is_running, wait_for
from .broken_triton import failing_import


def broken(tmp_path, statement):
    """A Triton whose import does this, before the real one."""
    environment = {"PYTHONPATH": str(failing_import(tmp_path, statement))}
    return {**environment, "TRITON_INTERPRET": "0", "OMP_NUM_THREADS": "1"}


def instead_of_torch(tmp_path, statement):
    """A torch whose import does this. Quicker than a Triton, which comes after the real torch."""
    (tmp_path / "torch.py").write_text(statement)
    return {"PYTHONPATH": str(tmp_path)}


def test_it_is_the_same_report_as_the_commands():
    found = run_apart(use_gpu=False, environment={"TRITON_INTERPRET": "0"})
    assert found.ok and "torch reference" in found.serving
    names = [check.name for check in found.checks]
    assert names[0].startswith("torch reference on the CPU") and "Triton imports" in names
    assert found.machine["Python"].endswith(sys.executable)
    # imports, but cannot compile on this machine
    (skipped,) = [check for check in found.checks if check.state == "skipped"]
    assert "no CUDA or ROCm GPU here" in skipped.detail
    assert any("head dim" in line for line in found.checks[0].lines)
    served = found.checks[-1]
    assert served.detail.startswith("triton: none, the tensors are on cpu")
    assert "triton: head dim: at most 256" in served.lines
    again = Report.from_json(json.loads(json.dumps(found.json())))
    assert again == found and found.json()["ok"] is True


def test_lines_are_heard_as_they_come(tmp_path):
    """The tuner's progress, of a process that says it slowly and in parts."""
    heard, looked = [], tmp_path / "looked"
    program = (
        "import pathlib, sys, time\n"
        "print('[  7', end='', flush=True); time.sleep(0.3)\n"
        "print('%] shapes', flush=True)\n"
        "while not pathlib.Path(sys.argv[-1]).exists(): time.sleep(0.01)\n"
        "print('noise\\n[100%] do', end='', flush=True); time.sleep(0.3)\n"
        "print('ne')\n"
    )
    (tmp_path / "slow_program.py").write_text(program)

    def alive():
        if heard:  # while it still runs
            assert heard == ["[  7%] shapes"] or looked.exists()
            looked.touch()

    ended = own_process.run_module(
        "slow_program", [str(looked)], 600.0, environment={"PYTHONPATH": str(tmp_path)},
        alive=alive, heard=heard.append,
    )  # fmt: skip
    assert ended.code == 0 and looked.exists()
    assert heard == list(ended.said) == ["[  7%] shapes", "noise", "[100%] done"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_tuner_apart_says_that_there_is_no_gpu():
    found = tune_apart(128, "bfloat16", 30.0)
    assert found.state == "failed" and "no GPU here" in found.detail


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_tuner_that_is_killed_is_a_finding(tmp_path):
    environment = instead_of_torch(tmp_path, "import os; os.abort()")
    found = tune_apart(128, "bfloat16", 30.0, environment=environment)
    assert found.state == "failed" and "SIGABRT" in found.detail
    assert "what it had found by then may be written" in found.detail


def test_it_reads_the_measurements_that_this_process_reads(tmp_path, monkeypatch):
    """ComfyUI's own file, which only its process was told of."""
    monkeypatch.delenv(place.VARIABLE, raising=False)
    monkeypatch.setattr(place, "_of_host", tmp_path / "of_comfyui.json")
    says = f"import os; print(os.environ[{place.VARIABLE!r}], flush=True); os._exit(3)"
    found = run_apart(environment=instead_of_torch(tmp_path, says))
    assert str(tmp_path / "of_comfyui.json") in found.checks[0].lines


def test_this_process_reads_the_measurements_anew_too(tmp_path, monkeypatch):
    """As the other one has them, of which its report speaks."""
    file = tmp_path / "measured.json"
    monkeypatch.setenv(place.VARIABLE, str(file))
    measured.forget()
    assert entries._read(file) == ((), "")
    file.write_text("changed meanwhile")
    run_apart(environment=instead_of_torch(tmp_path, "import os; os._exit(3)"))
    assert "not what the tuner writes" in entries._read(file)[1]
    measured.forget()


def test_a_missing_piece_is_named(tmp_path):
    found = run_apart(
        environment=broken(tmp_path, "raise ImportError('libtriton.so: undefined symbol: _Z')"),
        use_gpu=False,
    )
    assert not found.ok
    text = " ".join(found.text().split())
    assert "installed but does not import" in text and "--force-reinstall" in text
    # what does not need Triton was checked all the same
    assert found.checks[0].state == "ok"


@pytest.mark.parametrize(
    ("module", "statement", "words"),
    [
        (broken, "import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        (instead_of_torch, "import os; os.abort()", "SIGABRT"),
        (instead_of_torch, "import os; os._exit(7)", "with exit code 7"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_process_that_is_killed_is_a_finding(tmp_path, module, statement, words):
    found = run_apart(environment=module(tmp_path, statement), use_gpu=False)
    (check,) = found.checks
    assert not found.ok and check.name == apart.NAME
    assert words in check.detail and "driver" in check.remedy
    assert found.machine["torch"]
    if "SIG" in words:  # where it happened
        assert any(str(tmp_path) in line for line in check.lines)


def test_a_process_that_hangs_is_ended_with_what_it_started(tmp_path, monkeypatch):
    started = tmp_path / "child"
    statement = (
        "import os, subprocess, sys, time; "
        f"p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(started.with_suffix('.new'))!r}, 'w').write(str(p.pid)); "
        f"os.rename({str(started.with_suffix('.new'))!r}, {str(started)!r}); time.sleep(600)"
    )
    clock = Clock()
    monkeypatch.setattr(own_process, "time", clock)

    def time_passes():  # as soon as it hangs: how long that takes is the machine's affair
        if started.exists():
            clock.ahead = 15

    environment = instead_of_torch(tmp_path, statement)
    found = run_apart(15, environment=environment, use_gpu=False, alive=time_passes)
    (check,) = found.checks
    assert not found.ok and "15 seconds" in check.detail
    wait_for(lambda: not is_running(int(started.read_text())))


class Clock:
    """Stands still but for what it is put ahead."""

    ahead = 0.0

    def monotonic(self):
        return self.ahead


def test_it_can_be_interrupted(tmp_path):
    class StopError(Exception):
        pass

    looks = []

    def stop():
        looks.append(1)
        if len(looks) > 2:
            raise StopError

    # the self-test itself would hang far longer
    start = time.monotonic()
    with pytest.raises(StopError):
        run_apart(environment=broken(tmp_path, "import time; time.sleep(600)"), alive=stop)
    assert time.monotonic() - start < 300


def test_a_python_that_does_not_start_is_a_finding(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found = run_apart()
    assert not found.ok and "could not be started" in found.checks[0].detail
