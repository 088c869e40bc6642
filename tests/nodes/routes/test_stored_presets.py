"""Saving, copying, renaming, removing, taking over: what two tabs and other sites see."""

import asyncio
import json
import time

import pytest
import yaml

from psa_kernels import PSAConfig

from ...bad_presets import GOOD
from ...pack_import import ROOT
from .conftest import send

HOME = "/psa/presets/Wan2.1_1.3b/"
SEEDS = (ROOT / "presets").glob("*.yaml")


def put(app, name, expected=None, **preset):
    return app.ask("PUT", HOME + name, {"config": preset, "expected": expected})


def names(app, family="Wan2.1_1.3b"):
    families = app.ask("GET", "/psa/presets")[1]["families"]
    found = [p for f in families if f["name"] == family for p in f["presets"]]
    return {p["name"] for p in found if p["origin"] == "user"}


def import_own_family(app, default, presets):
    section = {
        "default_attention": default, "text_length": 5, "attention_configs": presets,
        "video_scale": {"width_divisor": 8, "height_divisor": 8, "depth_divisor": 1},
    }  # fmt: skip
    text = yaml.safe_dump({"Own": section}, sort_keys=False)
    assert app.ask("POST", "/psa/import", {"yaml": text})[0] == 200


def test_the_later_of_two_tabs_is_told(app):
    version = put(app, "mine", "absent", tail=32)[1]["version"]
    status, first, _ = put(app, "mine", version, tail=16)
    assert status == 200 and first["created"] is False
    status, answer, _ = put(app, "mine", version, tail=8)
    assert (status, answer["error"]["kind"]) == (409, "conflict")
    current = answer["error"]["current"]
    assert current == app.ask("GET", HOME + "mine")[1]
    assert current["config"]["tail"] == 16 and current["version"] == first["version"]
    # who has seen it, may
    assert put(app, "mine", current["version"], tail=8)[0] == 200
    # removed meanwhile: nothing is there now
    assert app.ask("DELETE", HOME + "mine", {"expected": None})[0] == 200
    status, answer, _ = put(app, "mine", current["version"], tail=8)
    assert (status, answer["error"]["current"]) == (409, None)
    assert not names(app)


def test_of_many_at_once_one_saves(app):
    async def all_at_once():
        bodies = [{"config": {"warmup_steps": i}, "expected": "absent"} for i in range(12)]
        return await asyncio.gather(
            *(send(app.client, app.url, "PUT", HOME + "mine", body) for body in bodies)
        )

    answers = app.run(all_at_once())
    (winner,) = (answer for status, answer, _ in answers if status == 200)
    losers = [answer["error"]["current"] for status, answer, _ in answers if status == 409]
    assert len(losers) == 11 and all(found == losers[0] for found in losers)
    assert losers[0]["config"] == winner["config"] == app.ask("GET", HOME + "mine")[1]["config"]


def test_delete_can_be_undone(app):
    put(app, "mine", tail=32, description="a: 'quoted' é 日本\n#no comment")
    before = app.ask("GET", HOME + "mine")[1]
    undo = app.ask("DELETE", HOME + "mine", {"expected": before["version"]})[1]["undo"]
    assert app.ask("GET", HOME + "mine")[0] == 404
    assert app.ask(undo["method"], undo["path"], undo["body"])[0] == 200
    assert app.ask("GET", HOME + "mine")[1] == before


def test_delete_of_a_whole_family_can_be_undone(app):
    import_own_family(app, "only", {"only": {"tail": 32}})
    before = app.ask("GET", "/psa/presets")[1]["families"]
    undo = app.ask("DELETE", "/psa/presets/Own/only", {"expected": None})[1]["undo"]
    assert app.ask("GET", "/psa/presets/Own/only")[0] == 404
    assert app.ask(undo["method"], undo["path"], undo["body"])[0] == 200
    assert app.ask("GET", "/psa/presets")[1]["families"] == before


def test_a_broken_preset_can_be_seen_renamed_and_removed_but_not_brought_back(app):
    app.folder.mkdir(parents=True)
    text = yaml.safe_dump({"Wan2.1_1.3b": {"attention_configs": {"bad": {"tail": 5}}}})
    (app.folder / "mine.yaml").write_text(text)
    status, answer, _ = app.ask("GET", HOME + "bad")
    (issue,) = answer["error"]["issues"]
    assert (status, issue["line"], issue["field"]) == (422, 4, "tail")
    assert issue["path"].endswith("attention_configs.bad.tail")
    assert "mine.yaml, line 4" in issue["message"]
    undo = app.ask("DELETE", HOME + "bad", {"expected": None})[1]["undo"]
    assert undo is None and not list(app.folder.glob("*.yaml"))


def test_a_save_that_could_not_be_read_again_changes_nothing(app):
    app.folder.mkdir(parents=True)
    file = app.folder / "Wan2.1_1.3b.yaml"
    file.write_text("Wan2.1_1.3b:\n  text_length: oops\n  attention_configs:\n    a: {tail: 8}\n")
    before = file.read_bytes()
    status, answer, _ = put(app, "mine", "absent", tail=32)
    assert (status, answer["error"]["kind"]) == (503, "storage")
    assert "line 2" in answer["error"]["message"] and "'oops'" in answer["error"]["message"]
    assert file.read_bytes() == before
    assert app.ask("POST", HOME + "fast/duplicate", {"to": "mine"})[0] == 503
    assert file.read_bytes() == before and not names(app)


def test_comments_stay_or_it_is_said_what_becomes_of_them(app):
    app.folder.mkdir(parents=True)
    file = app.folder / "mine.yaml"
    file.write_text("Wan2.1_1.3b:\n  attention_configs:\n    # mine\n    a: {tail: 8}  # small\n")
    assert app.ask("GET", HOME + "a")[1]["notes"] == []
    assert put(app, "a", tail=16)[1]["notes"] == []
    assert "    # mine\n    a:\n" in file.read_text() and "# small" in file.read_text()
    file.write_text('{"Wan2.1_1.3b": {"attention_configs": {"a": {  # mine\n"tail": 8}}}}')
    version = app.ask("GET", HOME + "a")[1]["version"]
    [note] = app.ask("GET", HOME + "a")[1]["notes"]  # before the first time
    assert "kept as mine.yaml.bak" in note["message"]
    answer = put(app, "a", version, tail=32)[1]
    assert answer["notes"] == [note] and answer["config"]["tail"] == 32
    assert "# mine" in (app.folder / "mine.yaml.bak").read_text()
    assert app.ask("GET", HOME + "a")[1]["notes"] == []
    assert app.ask("GET", "/psa/presets")[1]["problems"] == []


def test_rename_and_duplicate(app):
    version = put(app, "mine", tail=32)[1]["version"]
    assert app.ask("POST", HOME + "mine/rename", {"to": "x", "expected": "stale"})[0] == 409
    answer = app.ask("POST", HOME + "mine/rename", {"to": "Mine", "expected": version})[1]
    assert (answer["preset"], answer["version"]) == ("Mine", version) and names(app) == {"Mine"}
    for to, kind in (("fast", "name_taken"), ("FAST", "name_taken"), ("../x", "bad_name")):
        error = app.ask("POST", HOME + "Mine/rename", {"to": to, "expected": None})[1]["error"]
        assert error["kind"] == kind, to
        error = app.ask("POST", HOME + "Mine/duplicate", {"to": to})[1]["error"]
        assert error["kind"] in (kind, "read_only"), to
    assert app.ask("POST", HOME + "Mine/duplicate", {"to": "Mine"})[0] == 409
    assert app.ask("POST", HOME + "fast/duplicate", {"to": "x", "family": "CogVideo_5b"})[0] == 200
    copied = app.ask("GET", "/psa/presets/CogVideo_5b/x")[1]["config"]
    assert copied == app.ask("GET", HOME + "fast")[1]["config"]
    for method, path, body in (
        ("PUT", "fast", {"config": {}, "expected": None}),
        ("DELETE", "fast", {"expected": None}),
        ("POST", "fast/rename", {"to": "x", "expected": None}),
    ):
        assert app.ask(method, HOME + path, body)[1]["error"]["kind"] == "read_only"


def test_renaming_a_familys_default_keeps_it_the_default(app):
    import_own_family(app, "a", {"a": {"tail": 32}, "b": {}})
    answer = app.ask("POST", "/psa/presets/Own/a/rename", {"to": "c", "expected": None})[1]
    assert answer["is_default"] is True
    assert app.ask("GET", "/psa/presets/Own/default")[1]["preset"] == "c"
    (family,) = (f for f in app.ask("GET", "/psa/presets")[1]["families"] if f["name"] == "Own")
    assert [p["name"] for p in family["presets"]] == ["c", "b"]


def test_changes_of_others_are_noticed(app):
    version = app.ask("GET", "/psa/version")[1]["version"]
    assert app.ask("GET", "/psa/version")[1]["version"] == version
    listed = app.ask("GET", "/psa/presets")
    assert listed[1]["version"] == version and listed[2]["ETag"] == f'"{version}"'
    same = app.ask("GET", "/psa/presets", headers={"If-None-Match": f'"{version}"'})
    assert same[:2] == (304, None)
    seen = {version}
    app.folder.mkdir(parents=True)
    file = app.folder / "by hand.yaml"
    for i in range(4):  # the same size, within the file system's clock
        file.write_text(f"Wan2.1_1.3b: {{attention_configs: {{hand: {{warmup_steps: {i}}}}}}}")
        time.sleep(0.02)
        seen.add(app.ask("GET", "/psa/version")[1]["version"])
        assert app.ask("GET", HOME + "hand")[1]["config"]["warmup_steps"] == i
    saved = put(app, "mine", tail=32)[1]["store_version"]
    assert app.ask("GET", "/psa/version")[1]["version"] == saved and len(seen | {saved}) == 6


def test_import_takes_files_as_they_are_and_says_what_is_missing(app):
    everything = "".join(file.read_text(encoding="utf-8") for file in SEEDS)
    answer = app.ask("POST", "/psa/import", {"yaml": everything})[1]
    assert not answer["saved"] and len(answer["skipped"]) >= 36
    error = app.ask("POST", "/psa/import", {"yaml": "tail: 32"})[1]["error"]
    assert error["kind"] == "name_needed"
    above = {"yaml": "```yaml\nits name:\n  tail: 32\n```\n"}  # as a chat shows it
    assert app.ask("POST", "/psa/import", above)[1]["error"]["kind"] == "name_needed"
    own = {**above, "family": "Wan2.1_1.3b", "preset": "from a chat"}
    assert app.ask("POST", "/psa/import", own)[0] == 200
    assert app.ask("GET", HOME + "from%20a%20chat")[1]["config"]["tail"] == 32
    named = {"yaml": "tail: 32", "family": "Wan2.1_1.3b", "preset": "pasted"}
    assert app.ask("POST", "/psa/import", named)[0] == 200
    other = {**named, "yaml": "tail: 16"}
    assert app.ask("POST", "/psa/import", other)[1]["error"]["kind"] == "name_taken"
    assert app.ask("POST", "/psa/import", {**other, "replace": True})[0] == 200
    assert app.ask("GET", HOME + "pasted")[1]["config"]["tail"] == 16
    exported = app.ask("GET", "/psa/export?family=Wan2.1_1.3b&preset=pasted")[1]["yaml"]
    assert PSAConfig.from_preset(yaml.safe_load(exported)).tail == 16
    family = yaml.safe_load(app.ask("GET", "/psa/export?family=Wan2.1_1.3b")[1]["yaml"])
    assert "pasted" in family["Wan2.1_1.3b"]["attention_configs"]


FOREIGN = (
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://HOST", "Sec-Fetch-Site": "cross-site"},
    {"Host": "192.168.0.7:8188", "Origin": "http://evil.example"},
    {"Host": "comfy.lan", "Origin": "http://comfy.lan:81"},
)
OWN = (
    {},
    {"Origin": "http://HOST", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Host": "192.168.0.7:8188", "Origin": "http://192.168.0.7:8188"},
    {"Host": "comfy.lan", "Origin": "https://COMFY.lan"},
    {"Host": "comfy.lan:80", "Origin": "http://comfy.lan"},
)


@pytest.mark.parametrize(
    ("headers", "own"), [*((h, False) for h in FOREIGN), *((h, True) for h in OWN)]
)
def test_other_sites_are_refused_wherever_comfyui_listens(app, headers, own):
    host = app.url.removeprefix("http://")
    headers = {key: value.replace("HOST", host) for key, value in headers.items()}
    for method, path, body in (
        ("PUT", HOME + "mine", {"config": {}, "expected": None}),
        ("POST", "/psa/validate", {"config": {}}),
        ("GET", "/psa/presets", None),
    ):
        status, answer, _ = app.ask(method, path, body, headers=headers)
        assert status == (200 if own else 403), (method, answer)
        assert own or answer["error"]["kind"] == "cross_origin"
    assert names(app) == ({"mine"} if own else set())


def test_an_origin_that_comfyui_was_told_to_allow(app, monkeypatch):
    from comfy.cli_args import args

    asking = {"Origin": "http://dev.example:5173", "Sec-Fetch-Site": "cross-site"}
    for allowed, status in (("http://dev.example:5173", 200), ("*", 200), ("http://x", 403)):
        monkeypatch.setattr(args, "enable_cors_header", allowed)
        assert app.ask("GET", "/psa/version", headers=asking)[0] == status


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_taken(app, kind):
    raw = json.dumps({"config": {}, "expected": None}).encode()
    status, answer, _ = app.ask("PUT", HOME + "mine", raw=raw, headers={"Content-Type": kind})
    assert (status, answer["error"]["kind"]) == (415, "wrong_content_type") and not names(app)


def test_a_body_that_is_too_large_is_not_read(app):
    raw = b'{"config": {}, "expected": null, "x": "' + b"x" * (1 << 20) + b'"}'
    assert app.ask("PUT", HOME + "mine", raw=raw)[0] == 413

    async def in_chunks():
        async def endless():
            while True:  # never ends unless the server stops it
                yield b" " * 65536

        async with app.client.put(
            app.url + HOME + "mine", data=endless(), headers={"Content-Type": "application/json"}
        ) as reply:
            return reply.status

    assert app.run(in_chunks()) == 413


def test_every_page_is_told_of_a_save(comfy_server):
    """The websocket event, on a real server."""
    import aiohttp

    async def listen():
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(comfy_server.url.replace("http", "ws") + "/ws?clientId=x") as socket,
        ):
            path = "/api" + HOME + "told"
            body = {"config": GOOD, "expected": None}
            status, saved, _ = await send(client, comfy_server.url, "PUT", path, body)
            assert status == 200, saved
            async for frame in socket:
                message = json.loads(frame.data)
                if message["type"] != "psa.presets_changed":
                    continue
                if message["data"]["version"] == saved["store_version"]:
                    break  # others are of earlier tests' saves, told late
            removed = await send(client, comfy_server.url, "DELETE", path, {"expected": None})
            assert removed[0] == 200
            return saved, message["data"]

    saved, told = asyncio.run(asyncio.wait_for(listen(), 300))
    assert told == {"user": "default", "version": saved["store_version"]}
