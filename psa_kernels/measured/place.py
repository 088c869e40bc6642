"""Where the file is: what the environment says, else what the host chose, else the user's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "PSA_MEASURED"  # the file's path

_of_host: Path | None = None


def use_file(path: Path) -> None:
    """Sets a host's own place for the file. The environment variable overrides it."""
    global _of_host
    _of_host = Path(path)


def file_in_use() -> Path:
    """The file that is read and written; it need not exist."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    return _of_host or _user_cache() / "psa_kernels" / "measured.json"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
