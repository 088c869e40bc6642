"""A real ComfyUI server, headless, in a private base directory: started, awaited, ended."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

BASE_FOLDERS = (
    "custom_nodes",
    "models/diffusion_models",
    "user/default",
    "input",
    "output",
    "temp",
)


class ServerError(Exception):
    """The server could not be started or died; the message ends with the last lines of its log."""


def make_base(base: Path, packs: Mapping[str, Path]) -> Path:
    """A base directory whose custom_nodes holds exactly these packs, under these names."""
    for folder in BASE_FOLDERS:
        (base / folder).mkdir(parents=True, exist_ok=True)
    for name, pack in packs.items():
        _link(pack, base / "custom_nodes" / name)
    return base


def _link(pack: Path, target: Path) -> None:
    try:
        target.symlink_to(pack, target_is_directory=True)
    except OSError:  # Windows without the right to make symlinks
        skip = shutil.ignore_patterns(".*", "__pycache__", "demo_output", "tests")
        shutil.copytree(pack, target, ignore=skip)


def gpu_with_kernels() -> bool:
    """Whether a run here can use PSA's kernels; on any other GPU every call would stay dense."""
    import torch

    return torch.cuda.is_available() and importlib.util.find_spec("triton") is not None


# what a GPU install takes; on a CPU ComfyUI would pick another attention
ATTENTION = "--use-pytorch-cross-attention"


def launch_flags(base: Path, *, cpu: bool, attention: str = ATTENTION) -> list[str]:
    """Flags for a headless run, as a server or within one's own process."""
    return [
        "--base-directory",
        str(base),
        "--disable-api-nodes",
        "--database-url",
        "sqlite:///:memory:",
        attention,
        "--preview-method",
        "none",
        *(["--cpu"] if cpu else []),
    ]


class ComfyServer:
    """Context manager.  `url` and `base` are valid inside; `log_file` outlives it if given.

    flags, env: of the server's process, beside what every headless run gets; attention: the flag
    that chooses ComfyUI's own.
    """

    def __init__(
        self,
        comfyui: Path,
        packs: Mapping[str, Path],
        *,
        python: Path | str = sys.executable,
        cpu: bool | None = None,
        flags: Sequence[str] = (),
        attention: str = ATTENTION,
        env: Mapping[str, str] | None = None,
        log_file: Path | None = None,
        timeout: float = 600.0,
        on_wait: Callable[[float], None] = lambda seconds: None,
    ):
        self.comfyui = Path(comfyui).absolute()
        self.packs = packs
        self.python = str(python)
        self.cpu = not gpu_with_kernels() if cpu is None else cpu
        self.flags, self.attention, self.env = flags, attention, env or {}
        self.timeout = timeout
        self.on_wait = on_wait
        self._private = Path(tempfile.mkdtemp(prefix="psa-comfyui-"))
        self.base = self._private / "base"
        self.log_file = log_file or self._private / "comfyui.log"
        self.url = ""
        self._process: subprocess.Popen | None = None
        self._reservation: socket.socket | None = None

    def __enter__(self) -> "ComfyServer":
        try:
            make_base(self.base, self.packs)
            self._start()
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()

    def close(self) -> None:
        """End the server and everything it started; remove its private folder."""
        if self._process is not None:
            _end_group(self._process)
            self._process = None
        if self._reservation is not None:
            self._reservation.close()
            self._reservation = None
        shutil.rmtree(self._private, ignore_errors=True)

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def _start(self) -> None:
        port, self._reservation = _reserve_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [self.python, str(self.comfyui / "main.py"), "--listen", "127.0.0.1"]
        command += ["--port", str(port), "--disable-auto-launch"]
        command += launch_flags(self.base, cpu=self.cpu, attention=self.attention)
        command += self.flags
        # a group of its own, so that one signal ends it with all its children
        own_group = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
            if sys.platform == "win32"
            else {"start_new_session": True}
        )
        with open(self.log_file, "wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.comfyui,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **self.env},
                **own_group,
            )

    def _wait_until_ready(self) -> None:
        start = time.monotonic()
        while True:
            waited = time.monotonic() - start
            if self._process.poll() is not None:
                raise ServerError(f"ComfyUI ended while starting:\n{self.log_tail()}")
            if _answers(f"{self.url}/system_stats"):
                return
            if waited > self.timeout:
                raise ServerError(f"ComfyUI is not up after {waited:.0f} s:\n{self.log_tail()}")
            self.on_wait(waited)
            time.sleep(0.2)

    def log_tail(self, lines: int = 30) -> str:
        """The end of the log, indented."""
        return "\n".join("    " + line for line in self.log().splitlines()[-lines:])


def _reserve_port() -> tuple[int, socket.socket]:
    """(a free port, a socket that keeps Linux from giving it to others until it is closed).

    The seconds that a server takes to start are enough for another program to be given the port.
    On Linux a server that sets SO_REUSEADDR, as ComfyUI's does, can listen on it all the same: this
    socket does not listen. Elsewhere it could not, so the socket is closed already.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    port = reservation.getsockname()[1]
    if sys.platform != "linux":
        reservation.close()
    return port, reservation


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _end_group(process: subprocess.Popen) -> None:
    if process.poll() is None:
        if sys.platform == "win32":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
