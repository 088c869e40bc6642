"""--multi-user: each user's own presets, through the routes, the node's lists and a graph."""

import asyncio
import json
import urllib.error
import urllib.request

import pytest

from psa_pack.tools.comfy_client import ComfyClient

from ...pack_import import ROOT
from ..graphs import Graph, reports

NIGHT = "/psa/presets/Wan2.1_14b/night"
# at once, of each user; the last one must not wait so long that the server gives it up (10 s)
SAVES = 4


@pytest.fixture(scope="module")
def server(comfyui_path):
    from psa_pack.tools.comfy_server import ComfyServer
    from psa_pack.tools.tiny_wan.random_weights import write_tiny_wan

    packs = {"ComfyUI-PSA": ROOT, "psa_demo_nodes": ROOT / "tools" / "demo_nodes"}
    with ComfyServer(comfyui_path, packs, flags=("--multi-user",)) as server:
        write_tiny_wan(server.base / "models" / "diffusion_models" / "tiny_wan.safetensors")
        yield server


def ask(server, method, path, body=None, user=None):
    request = urllib.request.Request(server.url + path, method=method)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if user is not None:
        request.add_header("comfy-user", user)
    try:
        with urllib.request.urlopen(request, timeout=300) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def users(server):
    return [ask(server, "POST", "/users", {"username": name})[1] for name in ("ann", "bob")]


def test_each_user_has_presets_of_their_own(server, users):
    for user, warmup in zip(users, (1, 2), strict=True):
        body = {"config": {"warmup_steps": warmup, "type": "psa"}, "expected": "absent"}
        assert ask(server, "PUT", NIGHT, body, user)[0] == 200
        folder = server.base / "user" / user / "psa" / "presets"
        assert [path.name for path in folder.glob("*.yaml")] == ["Wan2.1_14b.yaml"]
    found = [ask(server, "GET", NIGHT, user=user)[1]["config"]["warmup_steps"] for user in users]
    assert found == [1, 2]
    assert not (server.base / "user" / "default" / "psa").exists()

    options = [
        ask(server, "GET", "/object_info/PSAPresetLoader", user=user)[1] for user in (*users, None)
    ]
    assert [("night" in json.dumps(x)) for x in options] == [True, True, False]

    for user, warmup in zip(users, (1, 2), strict=True):
        g = Graph(ComfyClient(server.url, user), server.base)
        loader = g.add("PSAPresetLoader", {"family": "Wan2.1_14b", "preset": "night"})
        edited = g.add("PSAPresetEditor", {"base": loader, "yaml_overrides": ""})
        g.sample(g.psa(g.model(), edited, node_id="apply"), steps=3)
        plan = reports(g.run())["apply"]["plan"]
        assert plan == ["dense"] * warmup + ["sparse"] * (3 - warmup)


@pytest.mark.parametrize("user", ["nobody", "__system", "..", "../ann", None])
def test_an_unknown_user_is_refused(server, users, user):
    for method, path, body in (("GET", "/psa/presets", None), ("GET", "/psa/version", None),
                               ("PUT", NIGHT, {"config": {}, "expected": None})):  # fmt: skip
        status, answer = ask(server, method, path, body, user)
        assert (status, answer["error"]["kind"]) == (403, "unknown_user")


def test_saves_of_two_users_at_once_do_not_mix(server, users):
    async def all_at_once():
        def save(user, i):
            body = {"config": {"warmup_steps": i}, "expected": None}
            return ask(server, "PUT", f"/psa/presets/CogVideo_5b/p{i}", body, user)

        jobs = [asyncio.to_thread(save, user, i) for i in range(SAVES) for user in users]
        return await asyncio.gather(*jobs)

    assert {status for status, _ in asyncio.run(all_at_once())} == {200}
    for user in users:
        families = ask(server, "GET", "/psa/presets", user=user)[1]["families"]
        names = {p["name"] for f in families if f["name"] == "CogVideo_5b" for p in f["presets"]}
        assert {f"p{i}" for i in range(SAVES)} <= names
