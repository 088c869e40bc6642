"""Shared by all tests.  How test modules reach the code: see pack_import.py beside this file.

Tests are collected in pytest's importlib mode: nothing is put on `sys.path`, file names may repeat
between folders, and a helper beside a test is imported as `from .helper import ...`.

Fixtures: `comfyui_path` (the ComfyUI under test), `comfy_server` and `comfy_client` (one real
server for the whole session, with the pack, the demo's nodes and tests/packs), `comfy_inproc`
(ComfyUI imported here), `tiny_wan_name` (the checkpoint's name for UNETLoader).
"""

import gc
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from . import coverage_record, pack_import

pack_import.install()

# a busy machine is no finding
SLOW = [HealthCheck.too_slow]
ANY_MACHINE = {"deadline": None, "suppress_health_check": SLOW}
# the same examples in every run; others with --hypothesis-seed
settings.register_profile("the same", derandomize=True, **ANY_MACHINE)
settings.register_profile("others", derandomize=False, **ANY_MACHINE)
settings.load_profile("the same")
# Hypothesis also tries the constants of modules that are loaded: those hang on what ran before.
# The names are its own affair, and in another version than the pinned one may not be there.
if hasattr(providers, "_get_local_constants") and hasattr(providers, "_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants

TINY_WAN = "tiny_wan.safetensors"


class _RootIsNoPackage:
    """Keeps pytest from importing the pack's own `__init__.py`, which needs ComfyUI."""

    def pytest_collect_directory(self, path: Path, parent):
        if path == pack_import.ROOT:
            return pytest.Dir.from_parent(parent, path=path)
        return None


def pytest_addoption(parser):
    web = parser.getgroup("web", "tests of the web editor (tests/web)")
    web.addoption(
        "--require-browser", action="store_true",
        help="fail, not skip, where the browser or the second frontend is missing",
    )  # fmt: skip
    web.addoption(
        "--all-frontends", action="store_true",
        help="every test with both frontends and both renderers",
    )  # fmt: skip
    web.addoption("--screenshots", metavar="DIR", help="write pictures there")
    parser.addoption(
        "--write-coverage", metavar="DIR", type=Path,
        help="keep what the tests marked `covers` showed, in DIR/VERSION.json",
    )  # fmt: skip
    parser.addoption(
        "--faults", metavar="N", type=int, default=10,
        help="how many renders with random faults (tests/nodes/faults/test_random_faults.py)",
    )  # fmt: skip
    parser.addoption(
        "--compiled-faults", metavar="N", type=int, default=3,
        help="how many of them in compiled models, beside the others",
    )  # fmt: skip
    parser.addoption(
        "--random-configurations", metavar="N", type=int,
        help="how many random calls the kernels get on a GPU, where most of the time goes into "
        "compiling (tests/kernels/triton/test_gpu.py; default: what takes about a minute)",
    )  # fmt: skip
    parser.addoption(
        "--write-golden", action="store_true",
        help="store what the goldens of the tests that run are now (tests/dev/golden)",
    )  # fmt: skip


def pytest_configure(config):
    if config.getoption("--hypothesis-seed") is not None:
        settings.load_profile("others")
    # ended politely, pytest still tears down, and so stops the server
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.pluginmanager.register(_RootIsNoPackage())
    folder = config.getoption("--write-coverage")
    tree = comfyui_tree() if folder else None
    record = coverage_record.CoverageRecord(folder, tree)
    config.pluginmanager.register(record, coverage_record.NAME)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Tests that draw numbers without a seed draw the same ones, whatever ran before them."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def _keep_what_is_there() -> None:
    """Leaves it out of all collections of garbage to come. Many tests ask for one, and walking
    through ComfyUI and thousands of collected tests took up to a second each time."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish(session):
    _keep_what_is_there()


def _gpu_missing() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "needs a GPU; torch sees none"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from .side_by_side import ByUnits

    return ByUnits(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        from .side_by_side import in_order

        in_order(items)
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and (reason := _gpu_missing()):
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason=reason))


def comfyui_tree() -> Path:
    from psa_pack.tools.dev import comfyui

    given = os.environ.get("COMFYUI_PATH")
    return Path(given) if given else comfyui.pinned_path(pack_import.ROOT / ".dev")


@pytest.fixture(scope="session")
def comfyui_path() -> Path:
    """The ComfyUI tree; `dev.py test` always provides one, so nothing is skipped there."""
    path = comfyui_tree()
    if not path.is_dir():
        pytest.skip("needs a ComfyUI: run `python3 dev.py test`, or set COMFYUI_PATH")
    return path


@pytest.fixture(scope="session")
def tiny_wan_name() -> str:
    return TINY_WAN


@pytest.fixture(scope="session")
def comfy_server(comfyui_path):
    """A running ComfyServer (`.url`, `.base`, `.log()`), shared by all tests of the session."""
    from psa_pack.tools.comfy_server import ComfyServer
    from psa_pack.tools.random_wan import write_tiny_wan

    packs = {
        "ComfyUI-PSA": pack_import.ROOT,
        "psa_test_prompts": pack_import.ROOT / "tests" / "packs" / "prompts",
        "psa_small_wan": pack_import.ROOT / "tools" / "small_wan",
        "psa_test_spy": pack_import.ROOT / "tests" / "packs" / "spy",
    }
    with ComfyServer(comfyui_path, packs) as server:
        write_tiny_wan(server.base / "models" / "diffusion_models" / TINY_WAN)
        yield server


@pytest.fixture(scope="session")
def comfy_client(comfy_server):
    from psa_pack.tools.comfy_client import ComfyClient

    return ComfyClient(comfy_server.url)


@pytest.fixture(scope="session")
def comfy_inproc(comfyui_path, tmp_path_factory):
    from .comfy_inprocess import ComfyInProcess

    comfy = ComfyInProcess(comfyui_path, tmp_path_factory.mktemp("comfyui"))
    _keep_what_is_there()
    return comfy
