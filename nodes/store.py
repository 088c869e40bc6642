"""The preset store of this ComfyUI: shipped presets, and the user's own in the user directory."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import folder_paths
from server import PromptServer

from ..presets.store import Listing, PresetStore
from .queued import DEFAULT_USER, current_user

log = logging.getLogger("PSA")

SHIPPED = Path(__file__).resolve().parent.parent / "presets"
FOLDER = "psa/presets"  # in a user's directory
CHANGED = "psa.presets_changed"


def preset_store() -> PresetStore:
    """The store of the user who makes this request, or who queued the graph that runs."""
    return store_in(user_folder() / FOLDER)


def user_folder() -> Path:
    """That user's directory."""
    folder = folder_paths.get_public_user_directory(current_user())
    if folder is None:  # a name that ComfyUI keeps for itself
        folder = folder_paths.get_public_user_directory(DEFAULT_USER)
    return Path(folder)


def tell_changed(user: str, store: PresetStore) -> str:
    """Tells every open page that this user's presets changed; returns the new version."""
    version = store.stamp()
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_sync(CHANGED, {"user": user, "version": version})
    return version


def list_presets() -> Listing:
    """All presets. Problems in the user's files are logged, again only when they change."""
    listing = preset_store().list()
    _log_problems(tuple(str(problem) for problem in listing.problems))
    return listing


@functools.lru_cache(maxsize=16)
def _log_problems(problems: tuple[str, ...]) -> None:
    for problem in problems:
        log.warning("PSA presets: %s", problem)


@functools.lru_cache(maxsize=64)
def store_in(user_dir: Path) -> PresetStore:
    """The store over one folder of a user's own presets."""
    return PresetStore(SHIPPED, user_dir)
