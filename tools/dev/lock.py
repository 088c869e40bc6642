"""Two set-ups must not fill the same folder at once."""

import contextlib
import sys
import time
from pathlib import Path

from .progress import say


@contextlib.contextmanager
def exclusive(path: Path):
    """Hold a lock file; the system lets go of it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        if not _try_lock(file):
            say("another set-up is at work; waiting for it ...")
            while not _try_lock(file):
                time.sleep(1)
        yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(file) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
