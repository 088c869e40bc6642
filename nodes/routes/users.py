"""Whose presets a request means: ComfyUI's user manager decides, as for its own user data."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web
from server import PromptServer

from ...presets.store import PresetStore
from ..store import FOLDER, store_in
from .errors import Refusal


def user_of(request: web.Request) -> str:
    """Raises `Refusal` for a user that ComfyUI does not know."""
    try:
        return PromptServer.instance.user_manager.get_request_user_id(request)
    except KeyError:
        raise Refusal(403, "unknown_user", "there is no such user") from None


def store_of(request: web.Request) -> PresetStore:
    """The presets of the request's user."""
    user_of(request)
    path = PromptServer.instance.user_manager.get_request_user_filepath(
        request, FOLDER, create_dir=False
    )
    if path is None:
        raise Refusal(403, "unknown_user", "this user has no folder")
    return store_in(Path(path))
