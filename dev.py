"""One command for everything a developer or a curious user does here; needs Python only.

    python3 dev.py demo    a small video model sampled in a real ComfyUI, dense and with PSA
    python3 dev.py test    lint and tests; further arguments go to pytest
    python3 dev.py bench   speed and accuracy beside other attention (benchmarks/README.md)
    python3 dev.py quality what PSA does to clips of a small trained model (benchmarks/README.md)

Each does its whole set-up under .dev/ the first time (about 3 GB of downloads) and reuses it after.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - this file meets whatever Python is at hand
    sys.exit("dev.py needs Python 3.10 or newer; run it with `python3.11 dev.py ...` or the like.")

import argparse
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

# an embedded Python, such as a portable ComfyUI's, does not look beside the script by itself
sys.path.insert(0, str(Path(__file__).absolute().parent))

from tools.dev import browser, comfyui, environment, frontend
from tools.dev.lock import exclusive
from tools.dev.pip_bootstrap import pip_command
from tools.dev.progress import SetupError, exit_with, say

# not resolved: a symlink in custom_nodes counts as sitting in that ComfyUI
ROOT = Path(__file__).absolute().parent
DEV_DIR = ROOT / ".dev"
LOG = DEV_DIR / "setup.log"

# `python -m` from this folder, for interpreters that do not look in the current one either
RUN_MODULE = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)

# module -> what to install for it, checked where --python brings an interpreter of the user's
DEMO_MODULES = {
    "torch": "torch",
    "aiohttp": "aiohttp",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "piq": "piq",
}
QUALITY_MODULES = {
    "torch": "torch",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "piq": "piq",
    "matplotlib": "matplotlib",
}
TEST_MODULES = {
    **DEMO_MODULES,
    "pytest": "pytest",
    "hypothesis": "hypothesis",
    "ruff": "ruff",
    "playwright": "playwright",
    "axe_playwright_python": "axe-playwright-python",
    "xdist": "pytest-xdist",
    **QUALITY_MODULES,
}

# pytest arguments that choose no tests, and want no process of their own to be seen
WHOLE_SUITE = ("--require-browser", "--all-frontends")


def main(argv: list[str]) -> int:
    args, further = parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if args.command == "demo":
            tree, python = set_up(args, DEMO_MODULES)
            options = ["--comfyui", str(tree.path), "--out", str(Path(args.out).absolute())]
            return run([str(python), "-c", RUN_MODULE, str(ROOT), "tools.demo", *options], tree)
        if args.command == "bench":
            tree, python = set_up(args, {"torch": "torch"})
            return run([str(python), "-c", RUN_MODULE, str(ROOT), "benchmarks", *further], tree)
        if args.command == "quality":
            tree, python = set_up(args, QUALITY_MODULES)
            command = [str(python), "-c", RUN_MODULE, str(ROOT), "benchmarks.quality", *further]
            return run(command, tree)
        tree, python = set_up(args, TEST_MODULES)
        set_up_web_tests(python)
        lint = run([str(python), "-m", "ruff", "check", str(ROOT)], tree)
        split = side_by_side(further)
        # their threads would get in each other's way
        threads = max(1, (os.cpu_count() or 1) // 2)
        env = {"OMP_NUM_THREADS": str(threads), **os.environ} if split else os.environ
        return run([str(python), "-m", "pytest", *split, *further], tree, env) or lint
    except SetupError as error:
        return exit_with(error)
    except KeyboardInterrupt:
        say("interrupted; run the same command again to go on")
        return 130


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    where = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    where.add_argument(
        "--comfyui",
        metavar="PATH",
        help="a ComfyUI folder (default: COMFYUI_PATH, else the ComfyUI this pack sits in, "
        "else a pinned copy)",
    )
    where.add_argument(
        "--python",
        metavar="PATH",
        help="an interpreter to use as it is, such as a portable ComfyUI's; nothing is installed",
    )
    parser = argparse.ArgumentParser(
        prog="dev.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", parents=[where], help="dense and PSA side by side")
    demo.add_argument("--out", metavar="DIR", default=ROOT / "demo_output", help="result folder")
    commands.add_parser(
        "test", parents=[where], allow_abbrev=False, help="ruff and pytest", usage="dev.py test "
        "[--comfyui PATH] [--python PATH] [pytest arguments]",
    )  # fmt: skip
    commands.add_parser(
        "bench", parents=[where], allow_abbrev=False, help="speed and accuracy", usage="dev.py "
        "bench [--comfyui PATH] [--python PATH] [arguments of `python -m benchmarks`]",
    )  # fmt: skip
    commands.add_parser(
        "quality", parents=[where], allow_abbrev=False, help="clips of a trained model",
        usage="dev.py quality [--comfyui PATH] [--python PATH] [arguments of `python -m "
        "benchmarks.quality`]",
    )  # fmt: skip
    args, rest = parser.parse_known_args(argv)
    if rest and args.command == "demo":
        parser.error(f"unknown arguments: {' '.join(rest)}")
    return args, rest


def side_by_side(further: list[str]) -> list[str]:
    """Three processes share the whole suite by its files; chosen tests run in one, with its output.

    One more than small machines have cores: a process waits a third of its time, for ComfyUI
    servers and browsers, which keep more cores than that busy as it is.
    """
    whole = all(argument in WHOLE_SUITE for argument in further)
    return ["--numprocesses=3", "--dist=loadfile"] if whole else []


def set_up(args: argparse.Namespace, modules: dict[str, str]) -> tuple[comfyui.ComfyUI, Path]:
    """The ComfyUI tree and the interpreter to run it with, made ready."""
    with exclusive(DEV_DIR / "setup.lock"):
        tree = comfyui.locate(args.comfyui, ROOT, DEV_DIR)
        if tree is None:
            tree = comfyui.fetch_pinned(pip_command(DEV_DIR, LOG), DEV_DIR, LOG)
        say(f"ComfyUI {tree.version} in {tree.path} ({tree.found})")
        if args.python:
            python = Path(args.python).expanduser().absolute()
            environment.check_given(python, modules)
        else:
            python = environment.ensure(tree, DEV_DIR, LOG)
        say(f"Python: {python}")
    return tree, python


def set_up_web_tests(python: Path) -> None:
    with exclusive(DEV_DIR / "setup.lock"):
        browser.ensure(python, DEV_DIR, LOG)
        frontend.ensure(pip_command(DEV_DIR, LOG), DEV_DIR, LOG)


def run(command: list[str], tree: comfyui.ComfyUI, env: Mapping[str, str] = os.environ) -> int:
    env = {
        **env,
        "COMFYUI_PATH": str(tree.path),
        # nothing may reach for the network once the set-up is done
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUTF8": "1",
    }
    process = subprocess.Popen(command, cwd=ROOT, env=env)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # it got the same Ctrl-C and may have a server to end: never leave it alone


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
