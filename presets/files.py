"""Files of presets on disk: reading a folder, one writer at a time, and writes that never tear."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from pathlib import Path

from .errors import PresetError, Problem, StorageError
from .yaml_text import MAX_BYTES, Document, parse

SHIPPED_DIR = Path(__file__).parent
LOCK_NAME = ".presets.lock"
LOCK_TIMEOUT = 10.0  # seconds
_ENDS = (".yaml", ".yml")
# what an editor on Windows saves, and does not show
_HIDDEN_ENDS = (".yaml.txt", ".yml.txt")
_TEMP_SUFFIX = ".psa-tmp"
_ABANDONED = 3600.0  # age in seconds after which a temporary file has no living writer
# The coarsest clock of a file system (FAT): a younger file may change without showing it.
_CLOCK = 2.0


@dataclass(frozen=True, eq=False)
class Reading:
    """A folder's documents in the order of their names, and what kept other files from being read.

    The same object as long as nothing changed.
    """

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()

    def tells(self, documents: Sequence[Document], problems: Sequence[Problem]) -> bool:
        same = len(documents) == len(self.documents) and all(map(is_, documents, self.documents))
        return same and tuple(problems) == self.problems


class Folder:
    """The *.yaml files of one directory, parsed; a file is read again when it changed."""

    def __init__(self, path: Path):
        self.path = path
        self._reading = Reading()
        self._lock = threading.Lock()  # so that many who ask at once parse once
        # name -> (signature under which it holds, if any; the content; what it gave)
        self._cache: dict[str, tuple[tuple | None, bytes, Document | PresetError]] = {}

    def read(self) -> Reading:
        with self._lock:
            documents, problems = self._read_all()
            if not self._reading.tells(documents, problems):
                self._reading = Reading(tuple(documents), tuple(problems))
            return self._reading

    def wrote(self, document: Document, content: bytes) -> None:
        """The file of this document holds this content now: it needs no second parsing."""
        with self._lock:
            self._cache[document.name] = (None, content, document)

    def content(self, document: Document) -> bytes | None:
        """What a document was read from; None if another one has taken its place since."""
        with self._lock:
            _, content, kept = self._cache.get(document.name, (None, b"", None))
            return content if kept is document else None

    def _read_all(self) -> tuple[list[Document], list[Problem]]:
        documents: list[Document] = []
        problems: list[Problem] = []
        cache = {}
        try:
            entries = _yaml_entries(self.path)
        except FileNotFoundError:
            return [], []
        except OSError as error:
            return [], [Problem(f"the presets folder cannot be read: {_reason(error)}")]
        for entry in entries:
            if not entry.name.lower().endswith(_ENDS):
                name = _shown(entry.name)
                what = "it is not read, as its name does not end in .yaml"
                problems.append(Problem(what, name, mend=f"rename it to {name[:-4]}"))
                continue
            result, kept = self._read(entry)
            if kept is not None:
                cache[entry.name] = kept
            if isinstance(result, Document):
                documents.append(result)
            else:
                problems.extend(result.problems)
        self._cache = cache
        return documents, problems

    def signature(self) -> list[tuple]:
        """What tells one state of the files from another, without reading them."""
        found = []
        with contextlib.suppress(OSError):
            for entry in _yaml_entries(self.path):
                with contextlib.suppress(OSError):
                    info = os.stat(entry.path, follow_symlinks=False)
                    times = (info.st_mtime_ns, info.st_ctime_ns)
                    found.append((os.fsencode(entry.name), *times, info.st_size, info.st_ino))
        return found

    def _read(self, entry: os.DirEntry) -> tuple[Document | PresetError, tuple | None]:
        """(document or refusal, what to keep of it)."""
        name = _shown(entry.name)
        if name != entry.name:
            return StorageError(Problem("its name is not UTF-8 text", name, mend="rename it")), None
        try:
            info = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(info.st_mode):
                what = "it is a link or not an ordinary file, so it is not read"
                return StorageError(Problem(what, name, mend="put the file itself here")), None
            info = os.stat(entry.path)  # what DirEntry caches on Windows has no inode or ctime
            signature = (info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino)
            kept = self._cache.get(entry.name)
            if kept and kept[0] == signature:
                return kept[2], kept
            with open(entry.path, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            return StorageError(Problem(f"it cannot be read: {_reason(error)}", name)), None
        settled = abs(time.time() - info.st_mtime) > _CLOCK
        if kept and kept[1] == content:  # reading a file is cheap, parsing it is not
            result = kept[2]
        else:
            try:
                result = parse(content, name)
            except PresetError as error:
                result = error
        return result, (signature if settled else None, content, result)


@functools.lru_cache(maxsize=64)
def folder_at(path: Path) -> Folder:
    """The folder at this absolute path: all stores over it share what was read."""
    return Folder(path)


def _yaml_entries(path: Path) -> list[os.DirEntry]:
    with os.scandir(path) as entries:
        found = [
            entry
            for entry in entries
            if entry.name.lower().endswith((*_ENDS, *_HIDDEN_ENDS)) and entry.name[0] != "."
        ]
    return sorted(found, key=lambda entry: entry.name)


def _shown(name: str) -> str:
    """A file name that can be printed, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "replace")


@contextlib.contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, against other threads and processes; makes the folder if need be.

    The lock is the operating system's, so it goes when its holder dies. Raises `StorageError` when
    it is not to be had in time or the folder cannot be written.
    """
    with storage_errors("the presets folder cannot be written"):
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        handle = os.open(folder / LOCK_NAME, flags, 0o666)
    try:
        _lock(handle)
        _drop_abandoned(folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while not _try_lock(handle):
        if time.monotonic() > deadline:
            raise StorageError(
                Problem("another program is writing presets", mend="try again in a moment")
            )
        time.sleep(0.01)


try:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Some network file systems have no locks; there, writes are still whole.
            return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EINTR)
        return True

except ImportError:
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True


def write_all(changes: Mapping[Path, bytes | None]) -> None:
    """Give every file its new content (None: remove it), or leave all as they were.

    Each file is written beside its place, flushed to disk and moved over the old one, so that a
    crash leaves the old or the new content, never a part. Raises `StorageError`.
    """
    staged: dict[Path, Path] = {}
    before: dict[Path, bytes | None] = {}
    with storage_errors("the presets could not be written"):
        try:
            for path, content in changes.items():
                before[path] = path.read_bytes() if path.exists() else None
                if content is not None:
                    staged[path] = temporary = path.with_name(
                        f".{path.name}.{secrets.token_hex(8)}{_TEMP_SUFFIX}"
                    )
                    _write_through(temporary, content, path)
            _move_all(changes, staged, before)
        finally:
            for temporary in staged.values():
                with contextlib.suppress(OSError):
                    temporary.unlink()
    for folder in {path.parent for path in changes}:
        _sync_folder(folder)


def free_copy(path: Path) -> Path:
    """Where a copy of a file can go beside it: no other copy is written over, an equal one is."""
    content = path.read_bytes()
    for number in itertools.count(1):
        copy = path.with_name(f"{path.name}.bak" if number == 1 else f"{path.name}.{number}.bak")
        if not os.path.lexists(copy):
            return copy
        with contextlib.suppress(OSError):
            if copy.is_file() and not copy.is_symlink() and copy.read_bytes() == content:
                return copy


def _write_through(temporary: Path, content: bytes, like: Path) -> None:
    with open(temporary, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if like.exists():
        shutil.copymode(like, temporary)


def _move_all(
    changes: Mapping[Path, bytes | None],
    staged: Mapping[Path, Path],
    before: Mapping[Path, bytes | None],
) -> None:
    done: list[Path] = []
    try:
        for path in changes:
            if path in staged:
                _replace(staged[path], path)
            else:
                path.unlink()
            done.append(path)
    except OSError:
        for path in done:
            with contextlib.suppress(StorageError, OSError):
                write_all({path: before[path]})
        raise


def _replace(source: Path, target: Path) -> None:
    # On Windows a reader that has the file open holds the move up for a moment.
    for pause in (0.01, 0.05, 0.2, 0.5) if os.name == "nt" else ():
        try:
            return os.replace(source, target)
        except PermissionError:
            time.sleep(pause)
    return os.replace(source, target)


def _sync_folder(folder: Path) -> None:
    # Not every system lets a folder be opened; then the move is on disk a little later.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _drop_abandoned(folder: Path) -> None:
    for temporary in folder.glob(f".*{_TEMP_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - temporary.stat().st_mtime > _ABANDONED:
                temporary.unlink()


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turns an `OSError` into a `StorageError`; the path stays out of the message."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
