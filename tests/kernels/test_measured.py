"""The file of what was measured: who may read it, who must not, and that it is always whole."""

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest
import torch

from psa_kernels import measured
from psa_kernels.measured import Machine, entries, place
from psa_kernels.selftest.settings import measured_settings, settings_in_use
from psa_kernels.triton import tuning

from ..pack_import import ROOT

GPU = torch.device("cuda", 0)
HERE = Machine("NVIDIA GeForce RTX 4090", "580.1", "2.11.0+cu130", "3.6.0", "0123456789ab")
ATTEND = tuning.Attend(64, 64, 4, 3, 2, 2, 2)
ESTIMATE = tuning.Estimate(128, 64, 8, 1)


def entry(machine=HERE, **changes):
    return dataclasses.asdict(machine) | {
        "head_dim": 128, "dtype": "bfloat16", "date": "2026-11-29", "qk": "half",
        "attend": {"half": vars(ATTEND)}, "estimate": vars(ESTIMATE), "gain": {}, "tried": 2,
        "left_out": [],
    } | changes  # fmt: skip


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file in use, on a machine with a made-up GPU."""
    path = tmp_path / "psa" / "measured.json"
    monkeypatch.setenv(place.VARIABLE, str(path))
    monkeypatch.setattr(entries, "machine_of", lambda device: HERE)
    monkeypatch.setattr(tuning, "architecture", lambda device: "sm_86")
    monkeypatch.setattr(tuning, "has_tma", lambda device: False)
    measured.forget()
    entries._say_once.cache_clear()
    yield path
    measured.forget()


def in_use(dtype=torch.bfloat16, dim=128):
    return tuning.attend(GPU, dtype, dim), tuning.estimate(GPU, dtype, dim)


ROW = tuning.ATTEND["sm_86"][128], tuning.ESTIMATE["sm_86"][128]


def test_without_a_file_the_table_serves(file, caplog):
    assert in_use() == ROW
    assert tuning.measured_qk(GPU, 128, torch.bfloat16) == "half"
    assert not caplog.records


def test_what_was_measured_goes_before_the_table(file, caplog):
    measured.write(file, entry())
    assert in_use() == (ATTEND, ESTIMATE)
    # one of half precision serves the other, and all heads of one width
    assert in_use(torch.float16) == in_use(dim=80) == (ATTEND, ESTIMATE)
    assert in_use(dim=64)[0] == tuning.ATTEND["sm_86"][64]
    assert in_use(torch.float32)[0] == tuning.ATTEND["float32"][128]
    assert not caplog.records


def test_the_self_test_names_the_settings_in_use_and_what_measuring_brought(file):
    row = f"attention in half precision {ROW[0]}"
    assert "128 queries x 32 keys, 8 warps, depths 2 2 2" in row
    said = settings_in_use(GPU, 128)
    assert said.startswith(f"the table's for sm_86: {row}; ") and str(ROW[1]) in said
    assert "none for heads of any size" in measured_settings(GPU)
    assert "python -m psa_kernels.tune" in measured_settings(GPU)
    gain = {"attention": 1.0634, "importance": 1.0}
    measured.write(file, entry(gain=gain))
    brought = "times as fast as the table's: attention 1.06, importance 1.00"
    said = settings_in_use(GPU, 128)
    assert said.startswith(
        f"measured here on 2026-11-29 ({brought}): attention in half precision {ATTEND}; "
    )
    assert f"importance {ESTIMATE}" in said
    assert settings_in_use(GPU, 64).startswith("the table's for sm_86: ")
    assert measured_settings(GPU).startswith(f"from {file}; none for heads of 64 and 256")
    measured.write(file, entry(gain=gain, torch="2.9"))
    assert f"the table's for sm_86 (measured before: {brought}): {row}" in settings_in_use(GPU, 128)
    assert "measured with torch 2.9, here it is 2.11.0+cu130" in measured_settings(GPU)


@pytest.mark.parametrize("qk", ["half", "int8"])
def test_the_self_test_names_both_precisions_where_there_are_both(file, qk):
    int8 = dataclasses.replace(ATTEND, rows=128)
    measured.write(file, entry(qk=qk, attend={"half": vars(ATTEND), "int8": vars(int8)}))
    said = settings_in_use(GPU, 128)
    assert f"attention in half precision {ATTEND}; attention in int8 {int8}; " in said
    assert f"qk: auto runs in {'int8' if qk == 'int8' else 'half precision'}" in said
    assert "int8" not in settings_in_use(GPU, 16)  # which the kernels have not
    assert "value_sums" not in said
    attend = {name: vars(ATTEND) for name in ("half", "int8", "int8, float16 sums")}
    measured.write(file, entry(qk=qk, attend=attend, sums={"half": "float32", "int8": "float16"}))
    measured.forget()
    assert "value_sums: auto runs in float16 where qk is int8" in settings_in_use(GPU, 128)


def test_ones_own_dtype_goes_first(file):
    def qk():
        return [tuning.measured_qk(GPU, 128, x) for x in (torch.bfloat16, torch.float16)]

    other = dataclasses.replace(ATTEND, tile=32)
    attend = dict.fromkeys(("half", "int8"), vars(other))
    measured.write(file, entry(dtype="float16", qk="int8", attend=attend))
    assert in_use()[0] == in_use(torch.float16)[0] == other and qk() == ["int8", "int8"]
    measured.write(file, entry())
    assert in_use()[0] == ATTEND and in_use(torch.float16)[0] == other
    assert qk() == ["half", "int8"]


def test_a_stale_entry_of_ones_own_dtype_hides_no_fresh_one_of_the_other(file, caplog):
    measured.write(file, entry(dtype="float16"))
    measured.write(file, entry(torch="2.9"))
    assert in_use() == in_use(torch.float16) == (ATTEND, ESTIMATE)
    assert not caplog.records
    measured.write(file, entry(dtype="float16", torch="2.8"))
    found = measured.find(GPU, 128, torch.bfloat16)
    assert "torch 2.9" in found.ignored and found.stale["dtype"] == "bfloat16"
    assert "torch 2.8" in measured.find(GPU, 128, torch.float16).ignored


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gpu": "NVIDIA H200"}, "measured on NVIDIA H200, this is NVIDIA GeForce RTX 4090"),
        ({"driver": "570.9"}, "with the driver 570.9, here it is 580.1"),
        ({"torch": "2.10.0"}, "with torch 2.10.0, here it is 2.11.0+cu130"),
        ({"triton": "3.5.1"}, "with Triton 3.5.1, here it is 3.6.0"),
        ({"kernels": "another"}, "another version of PSA's kernels"),
        # one without the newest fields
        ({"kernels": "another", "attend": {"half": {
            x: y for x, y in vars(ATTEND).items() if x not in ("registers", "specialised")}}},
         "another version of PSA's kernels"),
        ({"attend": {"half": {x: y for x, y in vars(ATTEND).items() if x != "rows"}}},
         "attend: found tile, warps, "),
        ({"attend": {"half": {**vars(ATTEND), "other": 1}}}, "attend: found rows, tile, "),
        ({"attend": {"half": {**vars(ATTEND), "specialised": 1}}}, "attend.specialised: found 1"),
        ({"estimate": {"means": 48}}, "estimate: found means, give means, groups"),
        ({"estimate": {**vars(ESTIMATE), "means": 48}}, "estimate.means: found 48"),
        ({"attend": {"half": {**vars(ATTEND), "tile": "64"}}}, "attend.tile: found '64'"),
        ({"attend": {"half": {**vars(ATTEND), "warps": True}}}, "attend.warps: found True"),
        ({"attend": {"half": {**vars(ATTEND), "list_stages": 0}}}, "attend.list_stages: found 0"),
        ({"qk": "fp4"}, "qk: found 'fp4'"),
        ({"head_dim": 0}, "head_dim: found 0"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_of_this_machine_is_ignored_in_one_sentence(file, caplog, change, says):
    measured.write(file, entry(**change))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert in_use() == ROW and in_use(torch.float16) == ROW
            assert tuning.measured_qk(GPU, 128, torch.bfloat16) == "half"
    (record,) = caplog.records
    said = record.getMessage()
    assert says in said and str(file) in said and "python -m psa_kernels.tune" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "measured": [1]}',
             "\ud800".encode("utf-8", "surrogatepass")],
)  # fmt: skip
def test_a_file_of_something_else_is_ignored_and_kept(file, caplog, text):
    file.parent.mkdir()
    raw = text if isinstance(text, bytes) else text.encode()
    file.write_bytes(raw)
    assert in_use() == ROW
    assert len(caplog.records) == 1
    measured.write(file, entry())
    assert in_use() == (ATTEND, ESTIMATE)
    assert file.with_name("measured.json.unread").read_bytes() == raw


def test_other_entries_stay(file):
    other = entry(dataclasses.replace(HERE, gpu="NVIDIA H200"))
    measured.write(file, other)
    measured.write(file, entry(head_dim=64))
    measured.write(file, entry(torch="2.9"))
    measured.write(file, entry())
    data = json.loads(file.read_text())
    assert data["measured"] == [other, entry(head_dim=64), entry()]
    assert "issue" in data["about"]


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")
def test_the_file_keeps_its_mode_and_a_link_stays_one(file):
    before = os.umask(0o027)
    try:
        measured.write(file, entry())
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o640
    file.chmod(0o604)
    real = file.rename(file.with_name("elsewhere.json"))
    file.symlink_to(real)
    measured.write(file, entry(head_dim=64))
    assert file.is_symlink() and real.stat().st_mode & 0o777 == 0o604
    assert len(entries.read_file(real)[0]) == 2
    assert sorted(x.name for x in file.parent.iterdir()) == ["elsewhere.json", "measured.json"]


def test_what_cannot_be_written_leaves_the_file_and_nothing_else(file):
    measured.write(file, entry())
    before = file.read_bytes()
    with pytest.raises(TypeError):
        measured.write(file, entry(left_out=[object()]))
    # what another program has cleared away meanwhile is no second error
    for leaves in (lambda made, path: 1 / 0, lambda made, path: made.unlink() or 1 / 0):
        replace = mock.patch.object(os, "replace", side_effect=leaves)
        with replace, pytest.raises(ZeroDivisionError):
            measured.write(file, entry(head_dim=64))
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


def test_it_is_read_once_and_anew_after_a_measurement(file):
    measured.write(file, entry())
    assert in_use() == (ATTEND, ESTIMATE)
    file.unlink()
    assert in_use() == (ATTEND, ESTIMATE)
    measured.forget()
    assert in_use() == ROW


def test_a_host_has_a_place_of_its_own(monkeypatch, tmp_path):
    monkeypatch.delenv(place.VARIABLE, raising=False)
    monkeypatch.setattr(place, "_of_host", None)
    assert measured.file_in_use().parts[-2:] == ("psa_kernels", "measured.json")
    measured.use_file(tmp_path / "one.json")
    assert measured.file_in_use() == tmp_path / "one.json"
    monkeypatch.setenv(place.VARIABLE, str(tmp_path / "two.json"))
    assert measured.file_in_use() == tmp_path / "two.json"


def test_this_machine_has_no_gpu_or_a_name():
    found = measured.machine_of(torch.device("cpu"))
    assert found is None or found.gpu == "Triton's interpreter"
    if torch.cuda.is_available():
        assert measured.machine_of(GPU).gpu == torch.cuda.get_device_name(0)


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from tests import pack_import
pack_import.install()
from pathlib import Path
from psa_kernels import measured
from tests.kernels.test_measured import entry
path, turn = Path(sys.argv[2]), 0
while True:
    turn += 1
    measured.write(path, entry(left_out=[f"{turn} " + "x" * 100] * 20_000))
    if turn == 1:
        print("begun", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_process_killed_while_it_writes_leaves_a_whole_file(tmp_path):
    path = tmp_path / "measured.json"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(ROOT), str(path)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"begun\n"
        for _ in range(200):  # whole at any moment, and not only at the end
            found, wrong = entries.read_file(path)
            assert len(found) == 1 and not wrong and len(set(found[0]["left_out"])) == 1
            if process.poll() is None and any(tmp_path.glob(".*")):
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
    assert any(tmp_path.glob(".*")), "it was never killed while it wrote"
    found, wrong = entries.read_file(path)
    assert not wrong and len(set(found[0]["left_out"])) == 1
