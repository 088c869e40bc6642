"""Servers end with everything they started, and say why they did not start."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from psa_pack.tools.comfy_server import ComfyServer, ServerError

from ..pack_import import ROOT
from ..processes import is_running, wait_for

# stands in for ComfyUI's main.py: answers, and has a child of its own
ANSWERING = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def fake_comfyui(folder: Path, main: str) -> Path:
    (folder / "main.py").write_text(textwrap.dedent(main))
    return folder


def as_from_a_terminal(command: list[str]) -> list[str]:
    """The command with Ctrl-C's signal heeded, also where a shell (`pytest &`) had it ignored."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", code, *command]


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are checked the POSIX way")
def test_closing_ends_the_whole_group_and_removes_the_base(tmp_path):
    with ComfyServer(fake_comfyui(tmp_path, ANSWERING), {"pack": tmp_path}, cpu=True) as server:
        child = int(server.log().split()[1])
        assert (server.base / "custom_nodes" / "pack" / "main.py").is_file()
        assert is_running(child)
    wait_for(lambda: not is_running(child))
    assert not server.base.exists()


def test_a_server_that_dies_while_starting_shows_its_log(tmp_path):
    server = ComfyServer(fake_comfyui(tmp_path, "raise SystemExit('no disk left')"), {}, cpu=True)
    with pytest.raises(ServerError, match="no disk left"), server:
        pass
    assert not server.base.exists()


def test_a_server_that_never_answers_is_given_up(tmp_path):
    tree = fake_comfyui(tmp_path, "import time; print('thinking', flush=True); time.sleep(600)")
    server = ComfyServer(tree, {}, cpu=True)

    def time_is_over_once_it_spoke(waited):
        if "thinking" in server.log():
            server.timeout = waited

    server.on_wait = time_is_over_once_it_spoke
    with pytest.raises(ServerError, match=r"not up after \d+ s:\s+thinking"), server:
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent the POSIX way")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ending_the_demo_ends_its_server(tmp_path, number):
    tree = tmp_path / "comfyui"
    (tree / "comfy").mkdir(parents=True)
    (tree / "requirements.txt").touch()
    (tree / "comfyui_version.py").write_text("__version__ = '0.3.75'")
    # never answers, so the demo waits for it
    fake_comfyui(tree, "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    log = tmp_path / "out" / "comfyui.log"
    options = ["--comfyui", str(tree), "--python", sys.executable, "--out", str(log.parent)]
    command = [sys.executable, str(ROOT / "dev.py"), "demo", *options]
    demo = subprocess.Popen(as_from_a_terminal(command), start_new_session=True)
    try:
        wait_for(lambda: log.is_file() and log.read_text().strip())
        server = int(log.read_text())
        assert is_running(server)
        # a terminal's Ctrl-C reaches the whole group, `kill` only the process named
        (os.killpg if number == signal.SIGINT else os.kill)(demo.pid, number)
        assert demo.wait(timeout=300) != 0
        wait_for(lambda: not is_running(server))
    finally:
        demo.kill()
