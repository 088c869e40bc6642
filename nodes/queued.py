"""The graph that is being queued, and the user who queues it.

A node's `validate_inputs` gets only the inputs that it names, never the nodes behind its links, and
a running node does not know its user. Both are in the request, so this module notes them while it
is served: the graph for its validation, the user (with --multi-user) for its run. It also turns
what scripts write for a widget's value into the form that ComfyUI reads.
"""

from __future__ import annotations

import contextvars
import functools
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiohttp import web
from comfy.cli_args import args
from comfy_api.latest import io
from comfy_execution.utils import get_executing_context

from .given_values import LEFT_OUT, read

log = logging.getLogger("PSA")

DEFAULT_USER = "default"
MOST_PROMPTS = 10_000  # whose user is remembered, in addition to those in the queue

_graph: contextvars.ContextVar[Mapping[str, Any] | None] = contextvars.ContextVar(
    "psa_graph", default=None
)
_user: contextvars.ContextVar[str | None] = contextvars.ContextVar("psa_user", default=None)
# the user of every prompt that came in, oldest first; None without a known user
_user_of_prompt: dict[str, str | None] = {}

# the input that carries the answer of `validate_inputs`; it must not be missing in a prompt
_CARRIERS = {
    "PSAPresetEditor": "yaml_overrides", "PSAApply": "dense_blocks", "PSACalibrate": "dense_blocks",
}  # fmt: skip


def install(server: Any, nodes: Iterable[type[io.ComfyNode]]) -> None:
    """Watches the prompts that ComfyUI's server receives; `nodes` are the pack's own."""
    known = {node.__name__: node for node in nodes}
    server.add_on_prompt_handler(lambda request: _on_prompt(request, known, server))
    if args.multi_user:
        server.app.middlewares.append(_note_user)


def graph() -> Mapping[str, Any] | None:
    """The graph that is being validated: node id -> its class_type and inputs. Else None."""
    return _graph.get()


def node_id() -> str | None:
    """The node that ComfyUI is asking."""
    context = get_executing_context()
    return context.node_id if context else None


def queued_inputs() -> Mapping[str, Any]:
    """All inputs that the node that ComfyUI is asking has in the graph."""
    node = (graph() or {}).get(node_id())
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def is_asked_for() -> bool:
    """Whether anything can need the preset of the node that ComfyUI is asking: not if it only goes
    to nodes that are switched off."""
    nodes, asked = graph() or {}, node_id()
    waiting, seen, used = [asked], {asked}, False
    while waiting:
        name = waiting.pop()
        for user, key in _users(nodes, name):
            used = True
            kind, inputs = nodes[user].get("class_type"), nodes[user]["inputs"]
            if kind == "PSAApply" and key == "preset" and inputs.get("enabled") is False:
                continue
            if kind != "PSAPresetEditor" or key != "base":
                return True
            if user not in seen:
                seen.add(user)
                waiting.append(user)
    return not used


def _users(nodes: Mapping[str, Any], name: str | None) -> Iterator[tuple[str, str]]:
    """(node, input) of every link from a node."""
    for user, node in nodes.items():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        for key, value in inputs.items() if isinstance(inputs, dict) else ():
            if isinstance(value, list) and value[:1] == [name]:
                yield user, key


def current_user() -> str:
    """Who makes this request, or who queued the running prompt; "default" with a single user."""
    if not args.multi_user:
        return DEFAULT_USER
    asking = _user.get()
    if asking is not None:
        return asking
    context = get_executing_context()
    return (_user_of_prompt.get(context.prompt_id) if context else None) or DEFAULT_USER


def _on_prompt(
    request: dict[str, Any], known: Mapping[str, type[io.ComfyNode]], server: Any
) -> dict[str, Any]:
    nodes = request.get("prompt")
    _graph.set(nodes if isinstance(nodes, dict) else None)
    for node in nodes.values() if isinstance(nodes, dict) else ():
        kind = node.get("class_type") if isinstance(node, dict) else None
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if isinstance(kind, str) and kind in known and isinstance(inputs, dict):
            _settle(known[kind], inputs)
            if kind in _CARRIERS:
                inputs.setdefault(_CARRIERS[kind], "")
    if args.multi_user:
        _claim(request, server)
    return request


def _settle(node: type[io.ComfyNode], inputs: dict[str, Any]) -> None:
    """Puts a queued node's inputs into the form that ComfyUI reads."""
    for name, widget in _widgets(node).items():
        if name not in inputs:
            continue
        value = read(widget, inputs[name])
        if value is not LEFT_OUT:
            inputs[name] = value
        elif widget.optional or not isinstance(widget, io.Combo.Input):
            del inputs[name]  # the default, or ComfyUI says that it is missing
    if hasattr(node, "settle"):
        node.settle(inputs)


@functools.lru_cache(maxsize=64)
def _widgets(node: type[io.ComfyNode]) -> dict[str, io.Input]:
    return {widget.id: widget for widget in node.define_schema().inputs}


def _claim(request: dict[str, Any], server: Any) -> None:
    """Notes whose prompt this is, and replaces an id that another user already has: neither prompt
    may run as the other's user."""
    user, wanted = _user.get(), request.get("prompt_id")
    if wanted is None or _user_of_prompt.get(str(wanted), user) != user:
        request["prompt_id"] = str(uuid.uuid4())
        if wanted is not None:
            log.warning("PSA: the prompt id %.60s belongs to another user; this prompt gets %s",
                        wanted, request["prompt_id"])  # fmt: skip
    _user_of_prompt[str(request["prompt_id"])] = user
    if len(_user_of_prompt) > MOST_PROMPTS:
        _forget(server)


def _forget(server: Any) -> None:
    """Drops the older half of the notes, except for prompts that wait or run."""
    running, waiting = server.prompt_queue.get_current_queue_volatile()
    needed = {item[1] for item in (*running, *waiting)}
    for prompt_id in list(_user_of_prompt)[: MOST_PROMPTS // 2]:
        if prompt_id not in needed:
            del _user_of_prompt[prompt_id]


@web.middleware
async def _note_user(request: web.Request, handler: Any) -> web.StreamResponse:
    from server import PromptServer

    try:
        user = PromptServer.instance.user_manager.get_request_user_id(request)
    except KeyError:  # ComfyUI's own routes refuse this
        user = None
    token = _user.set(user)
    try:
        return await handler(request)
    finally:
        _user.reset(token)
