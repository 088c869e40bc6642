"""Real Chromium against real ComfyUI servers.  See `ComfyPage` for what a test has in hand.

Tests run in one combination of frontend and renderer; those marked `both` with each frontend and
each renderer, those marked `everywhere` in all four combinations; `--all-frontends` runs every test
in all.  The servers live for the session; driver and browser for a module: while the driver lives,
no other test could use asyncio.  Loading ComfyUI takes as long as many a test, so a module's tests
share a page, emptied for each (`comfy`); a test that needs a page of its own, or one that remembers
nothing, opens it (`open_page`).
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
    # nothing but our servers; a route that aborts the rest would do without Chromium's cache
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
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
        # a module's tests of one combination after another: they share a page
        metafunc.parametrize("combination", chosen, indirect=True, scope="module")


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
        ours = {f"psa_test_{x}": ROOT / "tests" / "packs" / x for x in ("prompts", "gpu")}
        packs = {"ComfyUI-PSA": pack, **ours}
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


@pytest.fixture(scope="module")
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
    for page in pages:
        picture_of_failure(request, page)
        page.context.close()
    faults = [fault for page in pages for fault in page.faults]
    assert not faults, faults


@pytest.fixture(scope="module")
def kept_page(combination):
    """[the page that the module's tests share], or []."""
    kept = []
    yield kept
    for page in kept:
        page.context.close()


@pytest.fixture
def comfy(combination, server, browser, kept_page, request):
    """An empty canvas, loaded and settled; afterwards none of our scripts failed."""
    if kept_page:
        kept_page[0].start_anew()
    else:
        kept_page.append(ComfyPage(browser, server, combination[1]))
    page = kept_page[0]
    yield page
    picture_of_failure(request, page)
    faults = page.faults[:]
    page.faults.clear()
    if faults or request.node.stash.get(FAILED, False):
        kept_page.clear()
        page.context.close()
    assert not faults, faults


def picture_of_failure(request, page):
    folder = request.config.getoption("--screenshots")
    if folder and request.node.stash.get(FAILED, False):
        page.screenshot(f"{folder}/failed/{request.node.name}.png")


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report
