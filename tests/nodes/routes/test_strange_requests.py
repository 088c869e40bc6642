"""Whatever is sent: no 500, nothing outside the folder, no file in part, nothing on refusal."""

import asyncio
import collections
import re

from .conftest import send
from .strange import requests

COUNT = 1_200
AT_ONCE = 8


def files(base, folder):
    """({path: size, time} of everything but the presets, the presets folder's own files)"""
    outside = {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in base.rglob("*") if path.is_file() and folder not in path.parents
    }  # fmt: skip
    return outside, {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}


def assert_whole(folder):
    """Every file is a preset file that reads back; nothing else lies there."""
    from psa_presets.yaml_text import parse

    for path in folder.rglob("*"):
        assert path.is_file() and path.parent == folder, path
        if path.name != ".presets.lock":
            assert path.suffix == ".yaml", path
            parse(path.read_bytes())


def assert_answered(request, status, answer):
    about = (request.method, request.path[:100], request.raw[:300], status, answer)
    assert status != 500 and 200 <= status < 600, about
    if status == 400 and answer is None and "Content-Encoding" in request.headers:
        return  # a short body is read, and refused, before there is a request to route
    # an empty name in a path makes it another path, which is aiohttp's to answer
    if status >= 400 and (answer is not None or status not in (404, 405)):
        error = answer["error"]
        assert error["kind"] and error["message"] and isinstance(error["issues"], list), about
        assert "Traceback" not in error["message"] and "/psa/presets/." not in error["message"]


def test_a_thousand_requests(app):
    from psa_presets import PresetStore

    from ...pack_import import ROOT

    outside, _ = files(app.base, app.folder)
    seen = collections.Counter()

    def start_anew():
        # few presets again: every save writes its whole file
        for path in app.folder.glob("*.yaml"):
            path.unlink()

    async def one_by_one(batch):
        for i, request in enumerate(batch):
            if i % 200 == 0:
                start_anew()
            before = {p.name: p.read_bytes() for p in app.folder.glob("*.yaml")}
            status, answer, _ = await send(
                app.client, app.url, request.method, request.path, raw=request.raw,
                headers=request.headers,
            )  # fmt: skip
            assert_answered(request, status, answer)
            seen[status] += 1
            if status >= 400 or request.method == "GET":
                after = {p.name: p.read_bytes() for p in app.folder.glob("*.yaml")}
                assert after == before, (request, answer)

    async def at_once(batch):
        for start in range(0, len(batch), AT_ONCE):
            if start % 200 == 0:
                start_anew()
            part = batch[start : start + AT_ONCE]
            answers = await asyncio.gather(*(
                send(app.client, app.url, r.method, r.path, raw=r.raw, headers=r.headers)
                for r in part
            ))  # fmt: skip
            for request, (status, answer, _) in zip(part, answers, strict=True):
                assert_answered(request, status, answer)
                seen[status] += 1
            assert_whole(app.folder)

    app.folder.mkdir(parents=True, exist_ok=True)
    everything = list(requests(1, COUNT))
    app.run(one_by_one(everything[: COUNT // 2]))
    app.run(at_once(everything[COUNT // 2 :]))
    assert_whole(app.folder)
    assert files(app.base, app.folder)[0] == outside
    # the requests were not all refused at the door, nor the presets all broken
    assert seen[200] > COUNT // 8, seen
    assert min(seen[x] for x in (400, 403, 404, 409, 415, 422)) > 12, seen
    listing = PresetStore(ROOT / "presets", app.folder).list()
    assert not listing.problems
    assert any(p.origin == "user" for family in listing.families for p in family.presets)


def test_some_hundreds_against_the_real_server(comfy_server):
    import aiohttp

    folder = comfy_server.base / "user" / "default" / "psa" / "presets"
    had = files(comfy_server.base / "user", folder)[1]

    async def ask_all():
        async with aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as client:
            for i, request in enumerate(requests(2, 400)):
                path = ("/api" if i % 2 else "") + request.path
                status, answer, _ = await send(
                    client, comfy_server.url, request.method, path, raw=request.raw,
                    headers=request.headers,
                )  # fmt: skip
                if status == 403 and answer is None:
                    continue  # ComfyUI's own refusal of an origin
                assert_answered(request, status, answer)

    try:
        asyncio.run(ask_all())
        assert_whole(folder)
    finally:
        for path in folder.glob("*.yaml"):
            if path.name not in had:
                path.unlink()
    assert not re.findall(r"PSA: [A-Z]+ /.* failed", comfy_server.log())
