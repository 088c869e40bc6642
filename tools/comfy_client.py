"""Talking to a ComfyUI server as its page does: queue a prompt, follow it, read what came out."""

import asyncio
import itertools
import json
import struct
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

END_MESSAGES = ("execution_success", "execution_error", "execution_interrupted")
# the history entry can appear a moment after the success message
HISTORY_TRIES, HISTORY_PAUSE = 1200, 0.05
TEXT_ON_NODE = 3  # of comfy's BinaryEventTypes


class PromptRefusedError(Exception):
    """The server did not accept the prompt; `body` is its answer (`node_errors` and so on)."""

    def __init__(self, status: int, body: Any):
        super().__init__(f"HTTP {status}: {json.dumps(body, indent=1)}")
        self.status = status
        self.body = body


@dataclass
class Run:
    """One executed prompt.

    A message is {"type": ..., "data": {...}, "time": seconds since the prompt was queued}.
    `texts`: (node, text) of what nodes said of their progress.
    """

    prompt_id: str
    messages: list[dict] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    history: dict = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """execution_success, execution_error or execution_interrupted."""
        return next(m["type"] for m in reversed(self.messages) if m["type"] in END_MESSAGES)

    @property
    def succeeded(self) -> bool:
        return self.outcome == "execution_success"

    @property
    def error(self) -> dict | None:
        """ComfyUI's description of the failure (node_id, exception_message, traceback, ...)."""
        failures = self.events("execution_error")
        return failures[-1] if failures else None

    @property
    def outputs(self) -> dict[str, dict]:
        """What output nodes reported to the page, by node id."""
        return self.history.get("outputs", {})

    def events(self, kind: str) -> list[dict]:
        return [m["data"] for m in self.messages if m["type"] == kind]

    def node_seconds(self, node_id: str) -> float | None:
        """How long one node ran; None if it was cached."""
        moves = [m for m in self.messages if m["type"] in ("executing", *END_MESSAGES)]
        for this, following in itertools.pairwise(moves):
            if this["type"] == "executing" and this["data"].get("node") == node_id:
                return following["time"] - this["time"]
        return None


class ComfyClient:
    """`user`: the id of the user that asks, on a server with --multi-user."""

    def __init__(self, url: str, user: str | None = None):
        self.url = url.rstrip("/")
        self.headers = {"comfy-user": user} if user else {}

    def get(self, path: str) -> Any:
        return self._request(path)

    def post(self, path: str, body: Any) -> Any:
        return self._request(path, json.dumps(body).encode())

    def interrupt(self, prompt_id: str | None = None) -> None:
        self.post("/interrupt", {"prompt_id": prompt_id} if prompt_id else {})

    def run(
        self,
        prompt: dict,
        *,
        on_message: Callable[["Run", dict], None] = lambda run, message: None,
        timeout: float = 1800.0,
    ) -> Run:
        """Queue an API-format prompt and follow it to its end, whatever that is.

        on_message sees every websocket message as it comes; it may call other methods of the
        client, such as interrupt().
        """
        return asyncio.run(asyncio.wait_for(self._run(prompt, on_message), timeout))

    async def _run(self, prompt: dict, on_message) -> Run:
        client_id = uuid.uuid4().hex
        websocket_url = f"{self.url}/ws?clientId={client_id}"
        async with (
            aiohttp.ClientSession(headers=self.headers) as session,
            session.ws_connect(websocket_url, max_msg_size=0) as socket,
        ):
            start = time.monotonic()
            body = {"prompt": prompt, "client_id": client_id}
            async with session.post(f"{self.url}/prompt", json=body) as reply:
                answer = await reply.json()
                if reply.status != 200:
                    raise PromptRefusedError(reply.status, answer)
            run = Run(answer["prompt_id"])
            async for frame in socket:
                if frame.type != aiohttp.WSMsgType.TEXT:
                    run.texts += _text_on_node(frame.data)
                    continue
                message = json.loads(frame.data)
                message["time"] = time.monotonic() - start
                run.messages.append(message)
                await asyncio.to_thread(on_message, run, message)
                if _ends(message, run.prompt_id):
                    break
            else:
                raise ConnectionError("the server closed the connection before the prompt ended")
            run.history = await self._history(run.prompt_id)
            return run

    async def _history(self, prompt_id: str) -> dict:
        for _ in range(HISTORY_TRIES):
            found = await asyncio.to_thread(self.get, f"/history/{prompt_id}")
            if prompt_id in found:
                return found[prompt_id]
            await asyncio.sleep(HISTORY_PAUSE)
        raise TimeoutError(f"prompt {prompt_id} ended but never appeared in the history")

    def _request(self, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(self.url + path, data=body, headers=self.headers)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=300) as reply:
            content = reply.read()
        return json.loads(content) if content.strip() else None


def _text_on_node(frame: bytes) -> list[tuple[str, str]]:
    """[(node, text)] of a binary message that is one; others hold preview pictures."""
    kind, length = struct.unpack_from(">II", frame)
    if kind != TEXT_ON_NODE:
        return []
    return [(frame[8 : 8 + length].decode(), frame[8 + length :].decode())]


def _ends(message: dict, prompt_id: str) -> bool:
    return message["type"] in END_MESSAGES and message["data"].get("prompt_id") == prompt_id
