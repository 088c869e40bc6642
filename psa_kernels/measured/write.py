"""Writing the file: the old one stays whole until the new one is."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .entries import FORMAT, forget, read_file, same_call

ABOUT = (
    "Settings and times that PSA measured on this machine. To help others with such a GPU, send "
    "the file in with an issue on ComfyUI-PSA's repository."
)


def write(path: Path, entry: Mapping[str, Any]) -> None:
    """Puts `entry` in the place of the one for its GPU, head size and dtype; others stay.

    A file that cannot be read is kept beside it, with ".unread" behind its name.

    Raises `OSError` where the file cannot be written.
    """
    entries, wrong = read_file(path)
    if wrong:
        shutil.copyfile(path, f"{path}.unread")
    kept = [x for x in entries if not _same_place(x, entry)]
    text = json.dumps({"about": ABOUT, "format": FORMAT, "measured": [*kept, entry]}, indent=1)
    path = Path(os.path.realpath(path))  # a link stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with made.open("x", encoding="utf-8") as file:  # readable for others as the umask says
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, made)
        os.replace(made, path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    forget()


def _same_place(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one["gpu"] == other["gpu"] and same_call(one, other["head_dim"], other["dtype"])
