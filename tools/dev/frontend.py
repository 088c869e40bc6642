"""A second frontend for tests/web, which ComfyUI serves instead of its own (--front-end-root)."""

from pathlib import Path

from .progress import StepError, say
from .wheel import PinnedFolder, fetch

VERSION = "1.49.6"
PINNED = PinnedFolder(
    f"ComfyUI's frontend {VERSION}",
    "22 MB",
    wheel=f"comfyui-frontend-package=={VERSION}",
    sha256="69cef7e67f22854852d1d7be68ff82f27bd4ff4b33de9c643d7eb1339769c421",
    prefix="comfyui_frontend_package/static/",
)


def pinned_path(dev_dir: Path) -> Path:
    return dev_dir / f"frontend-{VERSION}"


def ensure(pip: list[str], dev_dir: Path, log_file: Path) -> None:
    if pinned_path(dev_dir).is_dir():
        return
    try:
        fetch(PINNED, pinned_path(dev_dir), pip, log_file)
    except StepError:
        say("it is not available here: the web editor will be tested with one frontend only")
