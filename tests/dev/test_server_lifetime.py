"""Servers end with everything they started, and say why they did not start."""

import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from psa_pack.tools.comfy_server import ComfyServer, ServerError

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


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    # a zombie has ended; only its parent has not asked yet
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are checked the POSIX way")
def test_closing_ends_the_whole_group_and_removes_the_base(tmp_path):
    with ComfyServer(fake_comfyui(tmp_path, ANSWERING), {"pack": tmp_path}, cpu=True) as server:
        child = int(server.log().split()[1])
        assert (server.base / "custom_nodes" / "pack" / "main.py").is_file()
        assert is_running(child)
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)
    assert not server.base.exists()


def test_a_server_that_dies_while_starting_shows_its_log(tmp_path):
    server = ComfyServer(fake_comfyui(tmp_path, "raise SystemExit('no disk left')"), {}, cpu=True)
    with pytest.raises(ServerError, match="no disk left"), server:
        pass
    assert not server.base.exists()


def test_a_server_that_never_answers_is_given_up(tmp_path):
    tree = fake_comfyui(tmp_path, "import time; print('thinking', flush=True); time.sleep(60)")
    with pytest.raises(ServerError, match="thinking"), ComfyServer(tree, {}, cpu=True, timeout=2):
        pass
