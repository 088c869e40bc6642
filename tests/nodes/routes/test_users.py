"""--multi-user: each user's own presets, through the routes, the node's lists and a graph."""

import asyncio
import json
import time
import urllib.error
import urllib.request
import uuid

import pytest
import yaml

from psa_kernels import PSAConfig
from psa_pack.tools.comfy_client import ComfyClient

from ...pack_import import ROOT
from ..graphs import Graph, reports

NIGHT = "/psa/presets/Wan2.1_14b/night"
# at once, of each user; the last one must not wait so long that the server gives it up (10 s)
SAVES = 4


@pytest.fixture(scope="module")
def server(comfyui_path):
    from psa_pack.tools.comfy_server import ComfyServer
    from psa_pack.tools.random_wan import write_tiny_wan

    packs = {"ComfyUI-PSA": ROOT, "psa_test_prompts": ROOT / "tests" / "packs" / "prompts"}
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


def queue(server, user, prompt_id):
    """Queues what shows the user's preset "shared"; returns (status, answer)."""
    g = Graph(ComfyClient(server.url, user), server.base)
    loader = g.add("PSAPresetLoader", {"family": "Wan2.1_14b", "preset": "shared"})
    # another text each time: what comes from the cache is not in every version's history
    shown = g.add("PSAPresetEditor", {"base": loader, "description": str(uuid.uuid4())})
    g.add("PreviewAny", {"source": [shown[0], 1]}, "yaml")
    body = {"prompt": g.nodes} if prompt_id is None else {"prompt": g.nodes, "prompt_id": prompt_id}
    return ask(server, "POST", "/prompt", body, user)


def hold_up(server, user):
    """Starts a render that takes long; the next prompts wait behind it."""
    g = Graph(ComfyClient(server.url, user), server.base)
    g.sample(g.model(), steps=5000, seed=5)
    assert ask(server, "POST", "/prompt", {"prompt": g.nodes}, user)[0] == 200
    deadline = time.monotonic() + 300
    while not ask(server, "GET", "/queue")[1]["queue_running"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def warmup_of(server, prompt_id):
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        found = ask(server, "GET", f"/history/{prompt_id}")[1]
        if prompt_id in found:
            text = found[prompt_id]["outputs"]["yaml"]["text"][0]
            return PSAConfig.from_preset(yaml.safe_load(text)).warmup_steps
        time.sleep(0.05)
    raise TimeoutError(prompt_id)


def test_a_prompt_runs_as_the_user_who_queued_it_whatever_id_they_gave_it(server, users):
    """Also where another user had the id first, and while that one's prompt still waits."""
    for user, warmup in zip(users, (1, 2), strict=True):
        body = {"config": {"warmup_steps": warmup, "type": "psa"}, "expected": None}
        assert ask(server, "PUT", "/psa/presets/Wan2.1_14b/shared", body, user)[0] == 200
    ann, bob = users
    wanted = str(uuid.uuid4())
    order = [(ann, wanted), (bob, wanted), (ann, wanted), (bob, None), (bob, wanted)]
    ids = []
    hold_up(server, ann)
    for user, prompt_id in order:
        status, answer = queue(server, user, prompt_id)
        assert status == 200, answer
        ids.append(answer["prompt_id"])
    waiting = ask(server, "GET", "/queue")[1]["queue_pending"]
    assert len(waiting) == len(order)
    ComfyClient(server.url).interrupt()
    # the first keeps what it asked for, and whose it is may have it again
    assert ids[0] == ids[2] == wanted and wanted not in (ids[1], ids[3], ids[4])
    assert len(set(ids)) == 4
    found = [warmup_of(server, prompt_id) for prompt_id in ids]
    assert found == [1, 2, 1, 2, 2]


def test_a_request_of_nobody_does_not_run_as_a_user_whose_id_it_gives(server, users):
    wanted = str(uuid.uuid4())
    graph = {"1": {"class_type": "PrimitiveInt", "inputs": {"value": 1}},
             "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}  # fmt: skip
    taken = [
        ask(server, "POST", "/prompt", {"prompt": graph, "prompt_id": wanted}, user)[1]["prompt_id"]
        for user in (users[0], None, users[1], users[0])
    ]
    assert taken[0] == taken[3] == wanted and len(set(taken)) == 3
    # its presets are nobody's
    status, answer = queue(server, None, wanted)
    assert status == 400 and "has no preset 'shared'" in json.dumps(answer)
