"""A Chromium for tests/web: one that is here, else Playwright's own, fetched into .dev/ once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .progress import StepError, run_step, say

VARIABLE = "PSA_TEST_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NONE_FOUND = (
    "no Chromium: install one (Debian: sudo apt install chromium), set "
    f"{VARIABLE} to one's path, or let `python3 dev.py test` download Playwright's own"
)


def folder(dev_dir: Path) -> Path:
    """Where Playwright keeps the browser that `ensure` fetched (PLAYWRIGHT_BROWSERS_PATH)."""
    return dev_dir / "browsers"


def candidates() -> Iterator[str | None]:
    """What to launch, best first; None stands for Playwright's own, which may not be there."""
    if given := os.environ.get(VARIABLE):
        yield given
        return
    yield None
    yield from filter(None, map(shutil.which, NAMES))


def ensure(python: Path, dev_dir: Path, log_file: Path) -> None:
    # Playwright writes this file last
    fetched = any(folder(dev_dir).glob("chromium*/INSTALLATION_COMPLETE"))
    if fetched or any(candidates()):
        return
    try:
        run_step(
            "downloading a browser for the tests of the web editor (about 120 MB)",
            [str(python), "-m", "playwright", "install", "--only-shell", "chromium"],
            log_file,
            {"PLAYWRIGHT_BROWSERS_PATH": str(folder(dev_dir))},
        )
    except StepError:
        say("it is not available here: the tests of the web editor will be skipped")
