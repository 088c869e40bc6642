"""The routes in this process, with a real store in a folder of their own, over a real socket."""

import asyncio
import contextlib
import json
import shutil
import threading

import aiohttp
import pytest
from aiohttp import web
from yarl import URL


class App:
    """A server with the pack's routes; `ask` sends a request and gives (status, JSON, headers)."""

    def __init__(self, base):
        self.base = base
        self.folder = base / "user" / "default" / "psa" / "presets"
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.url = self.run(self._start())

    def run(self, coroutine, timeout=600):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    async def _start(self):
        from psa_pack.nodes.routes import register

        table = web.RouteTableDef()
        register(table)
        app = web.Application(client_max_size=2**26)
        app.add_routes(table)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        # a client that sends paths as they are, however odd
        self.client = aiohttp.ClientSession(skip_auto_headers=["Content-Type"])
        return f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    def ask(self, method, path, body=None, **options):
        return self.run(send(self.client, self.url, method, path, body, **options))

    def close(self):
        self.run(self.client.close())
        self.run(self.runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


async def send(client, url, method, path, body=None, *, headers=None, raw=None):
    """`body` as JSON, or `raw` bytes as they are; `path` is not encoded once more."""
    content = raw if raw is not None else None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    target = URL(url + path, encoded=True)
    async with client.request(method, target, data=content, headers=headers) as reply:
        text = await reply.read()
        found = None
        with contextlib.suppress(ValueError):
            found = json.loads(text)
        return reply.status, found, reply.headers


@pytest.fixture(scope="session")
def session_app(comfy_inproc):
    comfy_inproc.load_pack()
    from psa_pack.presets import files

    app = App(comfy_inproc.base)
    with pytest.MonkeyPatch.context() as patch:
        # when many save at once, the last one waits for all the others: long, on a busy machine
        patch.setattr(files, "LOCK_TIMEOUT", 600.0)
        yield app
    app.close()


@pytest.fixture
def app(session_app):
    """The routes with no presets of the user's."""
    shutil.rmtree(session_app.folder, ignore_errors=True)
    yield session_app
    shutil.rmtree(session_app.folder, ignore_errors=True)
