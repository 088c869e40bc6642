"""Writes: whole or not at all, whatever fails or dies; nobody's preset is lost."""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from psa_kernels.config import PSAConfig
from psa_presets import SHIPPED_DIR, ConflictError, PresetStore, StorageError
from psa_presets.yaml_text import dump

from .figures import renamed_single_file
from .folders import write, yaml_files

FILES = sys.modules["psa_pack.presets.files"]
WRITER = Path(__file__).with_name("writer.py")
OLD, NEW = PSAConfig(warmup_steps=1), PSAConfig(warmup_steps=2)


class _Torn:
    """A file that takes half of what it is given, then the disk is full."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *args):
        return self.file.__exit__(*args)

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")


def fail(*args, **kwargs):
    raise OSError(28, "No space left on device")


def no_open(path, mode="r"):
    return fail() if "x" in mode else open(path, mode)


def torn_open(path, mode="r"):
    file = open(path, mode)  # noqa: SIM115
    return _Torn(file) if "x" in mode else file


FAULTS = {
    "open": ("open", no_open),
    "write": ("open", torn_open),
    "fsync": ("os.fsync", fail),
    "copymode": ("shutil.copymode", fail),
    "replace": ("os.replace", fail),
}


@pytest.mark.parametrize("step", FAULTS)
def test_a_failing_step_leaves_the_old_file(store, user_dir, monkeypatch, step):
    store.save("Wan2.1_14b", "mine", OLD)
    before = yaml_files(user_dir)
    name, fault = FAULTS[step]
    with monkeypatch.context() as patch:
        if name == "open":
            patch.setattr(FILES, "open", fault, raising=False)
        else:
            module, _, function = name.partition(".")
            patch.setattr(getattr(FILES, module), function, fault)
        with pytest.raises(StorageError, match="could not be written: No space left") as caught:
            store.save("Wan2.1_14b", "mine", NEW)
        assert str(user_dir) not in str(caught.value)
    assert yaml_files(user_dir) == before
    assert sorted(p.name for p in user_dir.iterdir()) == [".presets.lock", "Wan2.1_14b.yaml"]
    assert store.get("Wan2.1_14b", "mine") == OLD
    store.save("Wan2.1_14b", "mine", NEW)
    assert store.get("Wan2.1_14b", "mine") == NEW


@pytest.mark.parametrize("survived", range(6))
def test_an_import_over_six_files_is_taken_back(store, user_dir, monkeypatch, survived):
    store.save("Wan2.1_14b", "mine", OLD)
    before = yaml_files(user_dir)
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == survived + 1:
            fail()
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(FILES.os, "replace", replace)
        with pytest.raises(StorageError):
            store.import_text(renamed_single_file())
    assert yaml_files(user_dir) == before
    assert not list(user_dir.glob(".*tmp"))


def test_a_reader_in_the_way_on_windows(store, monkeypatch):
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) < 3:
            raise PermissionError(13, "in use")
        real(source, target)

    class Windows:
        name = "nt"

        def __getattr__(self, key):
            return replace if key == "replace" else getattr(os, key)

    monkeypatch.setattr(FILES, "os", Windows())
    store.save("Wan2.1_14b", "mine", NEW)
    assert len(calls) == 3


def test_abandoned_temporary_files_go(store, user_dir):
    store.save("Wan2.1_14b", "mine", OLD)
    for name, age in (("old", 7200), ("young", 0)):
        path = user_dir / f".{name}.yaml.0{FILES._TEMP_SUFFIX}"
        path.write_text("x")
        os.utime(path, (time.time() - age,) * 2)
    assert store.list().problems == ()
    store.save("Wan2.1_14b", "mine", NEW)
    assert [path.name.split(".")[1] for path in user_dir.glob(".*tmp")] == ["young"]


def test_the_files_mode_is_kept(store, user_dir):
    store.save("Wan2.1_14b", "mine", OLD)
    (user_dir / "Wan2.1_14b.yaml").chmod(0o640)
    store.save("Wan2.1_14b", "mine", NEW)
    if os.name != "nt":
        assert (user_dir / "Wan2.1_14b.yaml").stat().st_mode & 0o777 == 0o640


BROKEN = "Wan2.1_14b:\n  text_length: oops\n  attention_configs:\n    mine: {tail: 8}\n"


@pytest.mark.parametrize("what", ["save", "again", "import", "calibrate"])
def test_what_could_not_be_read_afterwards_is_not_written(store, user_dir, what):
    """Its family's header is broken: whatever is put under it is not there."""
    write(user_dir, "Wan2.1_14b.yaml", BROKEN)
    before = yaml_files(user_dir)
    with pytest.raises(StorageError, match=r"line 2: .*text_length: found 'oops'") as caught:
        if what == "save":
            store.save("Wan2.1_14b", "new", NEW)
        elif what == "again":
            store.save("Wan2.1_14b", "mine", NEW)
        elif what == "import":
            store.import_text("Wan2.1_14b: {attention_configs: {new: {tail: 16}}}")
        else:
            store.check_saving("Wan2.1_14b", "new")
    assert "nothing is saved. Fix: correct the file by hand first" in str(caught.value)
    assert yaml_files(user_dir) == before
    # mended, all of it works
    write(user_dir, "Wan2.1_14b.yaml", BROKEN.replace("oops", "0"))
    store.save("Wan2.1_14b", "new", NEW)
    assert store.get("Wan2.1_14b", "new") == NEW and store.get("Wan2.1_14b", "mine").tail == 8


def test_a_save_that_would_take_another_preset_away_is_refused(store, user_dir, monkeypatch):
    """Whatever goes wrong between the data and the text."""
    store.save("Wan2.1_14b", "mine", OLD)
    before = yaml_files(user_dir)
    edit = sys.modules["psa_pack.presets.edit"]

    def loses(data):
        data["Wan2.1_14b"]["attention_configs"].pop("mine", None)
        return dump(data)

    monkeypatch.setattr(edit, "dump", loses)
    with pytest.raises(StorageError, match=r"mine of Wan2.1_14b could not be read back"):
        store.save("Wan2.1_14b", "new", NEW)
    assert yaml_files(user_dir) == before


def test_a_held_lock_times_out_with_a_plain_word(store, user_dir, monkeypatch):
    monkeypatch.setattr(FILES, "LOCK_TIMEOUT", 0.05)
    with FILES.one_writer(user_dir), pytest.raises(StorageError, match="another program"):
        store.save("Wan2.1_14b", "mine", OLD)
    store.save("Wan2.1_14b", "mine", OLD)


def _start(user_dir, preset, count):
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(user_dir), preset, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


def _go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_killed_in_mid_write(user_dir):
    store = PresetStore(SHIPPED_DIR, user_dir)
    store.save("Wan2.1_14b", "mine", OLD.replace(description="x" * 2_000))
    rng = random.Random(7)
    for _ in range(4):
        process = _start(user_dir, "mine", 0)
        _go(process)
        deadline = time.monotonic() + rng.uniform(0.3, 0.9)
        while time.monotonic() < deadline:
            assert store.list().problems == ()
        process.kill()
        process.communicate()
        assert store.list().problems == ()
        config = store.get("Wan2.1_14b", "mine")
        assert len(config.description) == 2_000 * config.warmup_steps
        store.save("Wan2.1_14b", "after", OLD)  # the dead one's lock is gone


def test_two_processes_lose_nothing(user_dir):
    processes = [_start(user_dir, name, 12) for name in ("left", "right")]
    for process in processes:
        _go(process)
    for process in processes:
        process.communicate(timeout=600)
        assert process.returncode == 0
    store = PresetStore(SHIPPED_DIR, user_dir)
    assert store.list().problems == ()
    for name in ("left", "right"):
        for i in range(12):
            assert store.get("Wan2.1_14b", f"{name}-{i}").warmup_steps == i


def test_of_many_tabs_one_wins_and_the_others_are_told(store):
    version = store.save("Wan2.1_14b", "mine", OLD)
    outcomes = []

    def tab(steps):
        try:
            store.save("Wan2.1_14b", "mine", PSAConfig(warmup_steps=steps), expected=version)
            outcomes.append(steps)
        except ConflictError:
            outcomes.append(None)

    threads = [threading.Thread(target=tab, args=(steps,)) for steps in range(10, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [steps for steps in outcomes if steps is not None]
    assert len(outcomes) == 8
    assert store.get("Wan2.1_14b", "mine").warmup_steps == winner
