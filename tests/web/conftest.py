"""Real Chromium against real ComfyUI servers.  See `ComfyPage` for what a test has in hand.

Tests run in one combination of frontend and renderer; those marked `both` with each frontend and
each renderer, those marked `everywhere` in all four combinations; `--all-frontends` runs every test
in all.  The servers live for the session, browser contexts for a test (newer frontends remember
widget values of nodes that are gone), and the driver for a module: while it lives, no other test
could use asyncio.
"""

import importlib.metadata
import os
import shutil

import pytest

from psa_pack.tools.comfy_server import ComfyServer
from psa_pack.tools.dev import browser as browsers
from psa_pack.tools.dev import frontend as second_frontend
from psa_pack.tools.random_wan import write_tiny_wan

from ..pack_import import ROOT
from .comfy_page import TIMEOUT, ComfyPage

DEV_DIR = ROOT / ".dev"
TINY_WAN = "tiny_wan.safetensors"
# Chromium's own sandbox needs rights that root in a container has not got
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


def frontends():
    """Those to test with: ComfyUI's own, and a newer one where that is not its own."""
    try:
        own = importlib.metadata.version("comfyui-frontend-package")
    except importlib.metadata.PackageNotFoundError:
        own = None
    return ("own",) if own == second_frontend.VERSION else ("own", "newer")


COMBINATIONS = [
    pytest.param((frontend, renderer), id=f"{frontend}-{renderer}")
    for frontend in frontends()
    for renderer in ("classic", "vue")
]
CHOSEN = {"everywhere": COMBINATIONS, "both": [COMBINATIONS[0], COMBINATIONS[-1]]}


def pytest_generate_tests(metafunc):
    if "combination" in metafunc.fixturenames:
        chosen = COMBINATIONS[-1:]
        for marker, combinations in CHOSEN.items():
            if metafunc.definition.get_closest_marker(marker):
                chosen = combinations
        if metafunc.config.getoption("--all-frontends"):
            chosen = COMBINATIONS
        metafunc.parametrize("combination", chosen, indirect=True)


def missing(config, reason: str):
    """Without a browser the rest of the tests is still worth running, but not where CI says so."""
    if config.getoption("--require-browser"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """A module that skips itself, for want of playwright or axe, is one whose tests are missing."""
    report = yield
    if report.skipped and collector.config.getoption("--require-browser"):
        report.outcome, report.longrepr = "failed", f"{collector.nodeid}: {report.longrepr[-1]}"
    return report


@pytest.fixture(scope="module")
def browser(pytestconfig):
    try:
        from playwright import sync_api as playwright
    except ImportError:
        missing(pytestconfig, "needs playwright")
    if browsers.folder(DEV_DIR).is_dir():
        os.environ["PLAYWRIGHT_BROWSERS_PATH"] = str(browsers.folder(DEV_DIR))
    playwright.expect.set_options(timeout=TIMEOUT)
    with playwright.sync_playwright() as driver:
        for path in browsers.candidates():
            try:
                opened = driver.chromium.launch(executable_path=path, args=FLAGS)
            except playwright.Error as error:
                if path is None and "Executable doesn't exist" in error.message:
                    continue
                raise
            yield opened
            opened.close()
            return
        missing(pytestconfig, browsers.NONE_FOUND)


@pytest.fixture(scope="session")
def start_server(comfyui_path):
    """start(pack=..., flags=...) -> a running ComfyServer with the tiny Wan; all end together."""
    servers = []

    def start(pack=ROOT, flags=()):
        packs = {"ComfyUI-PSA": pack, "psa_test_prompts": ROOT / "tests" / "packs" / "prompts"}
        # more threads would only get into the browser's way
        server = ComfyServer(comfyui_path, packs, flags=flags, env={"OMP_NUM_THREADS": "1"})
        servers.append(server.__enter__())
        failed = [line for line in server.log().splitlines() if "IMPORT FAILED" in line]
        assert not any("ComfyUI-PSA" in line for line in failed), server.log()
        write_tiny_wan(server.base / "models" / "diffusion_models" / TINY_WAN)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def servers(start_server, pytestconfig):
    """server of a frontend's name, started when first asked for."""
    started = {}

    def server(name):
        if name not in started:
            started[name] = start_server(flags=frontend_flags(name, pytestconfig))
        return started[name]

    return server


def frontend_flags(name, config):
    if name == "own":
        return ()
    path = second_frontend.pinned_path(DEV_DIR)
    if not path.is_dir():
        missing(config, f"needs {path}: run `python3 dev.py test`")
    return ("--front-end-root", str(path))


@pytest.fixture
def combination(request):
    """(frontend, renderer)"""
    return request.param


@pytest.fixture
def server(combination, servers):
    """The server of this combination, without presets of a user."""
    server = servers(combination[0])
    shutil.rmtree(server.base / "user" / "default" / "psa", ignore_errors=True)
    return server


@pytest.fixture
def open_page(browser, request):
    """open_page(server, renderer, ...) -> a ComfyPage in a browser context of its own.

    After the test: none of our scripts failed in any of the pages.
    """
    pages = []

    def open_page(server, renderer="vue", **options):
        pages.append(ComfyPage(browser, server, renderer, **options))
        return pages[-1]

    yield open_page
    folder = request.config.getoption("--screenshots")
    for number, page in enumerate(pages):
        if folder and request.node.stash.get(FAILED, False):
            page.screenshot(f"{folder}/failed/{request.node.name}-{number}.png")
        page.context.close()
    faults = [fault for page in pages for fault in page.faults]
    assert not faults, faults


@pytest.fixture
def comfy(combination, server, open_page):
    """An empty canvas, loaded and settled."""
    return open_page(server, combination[1])


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report
