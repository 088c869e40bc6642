"""What is known of a graph while it is queued, and of the user who queues it.

ComfyUI shows a node's `validate_inputs` only the inputs that it names, and never the nodes behind
its links; and a running node is not told its user. Both are in the request, so they are noted while
it is served: the graph for its validation, the user (with --multi-user) for its run.
"""

from __future__ import annotations

import contextvars
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from comfy.cli_args import args
from comfy_execution.utils import get_executing_context

DEFAULT_USER = "default"
MOST_PROMPTS = 10_000  # whose user is remembered; more than a queue ever holds

_graph: contextvars.ContextVar[Mapping[str, Any] | None] = contextvars.ContextVar(
    "psa_graph", default=None
)
_user: contextvars.ContextVar[str | None] = contextvars.ContextVar("psa_user", default=None)
_user_of_prompt: OrderedDict[str, str] = OrderedDict()

# An input that is left out of a prompt cannot carry the answer of `validate_inputs`.
_CARRIERS = {"PSAPresetEditor": "yaml_overrides", "PSAApply": "dense_blocks"}


def install(server: Any) -> None:
    """Watches the prompts that come in at ComfyUI's server."""
    server.add_on_prompt_handler(_on_prompt)
    if args.multi_user:
        server.app.middlewares.append(_note_user)


def graph() -> Mapping[str, Any] | None:
    """The graph that is being validated: node id -> its class_type and inputs. None outside."""
    return _graph.get()


def node_id() -> str | None:
    """The node that ComfyUI is asking."""
    context = get_executing_context()
    return context.node_id if context else None


def queued_inputs() -> Mapping[str, Any]:
    """All inputs, in the graph that is being validated, of the node that ComfyUI is asking."""
    node = (graph() or {}).get(node_id())
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def current_user() -> str:
    """Who asks, or who queued the prompt that runs; "default" where there is one user only."""
    if not args.multi_user:
        return DEFAULT_USER
    asking = _user.get()
    if asking is not None:
        return asking
    context = get_executing_context()
    return _user_of_prompt.get(context.prompt_id, DEFAULT_USER) if context else DEFAULT_USER


def _on_prompt(request: dict[str, Any]) -> dict[str, Any]:
    nodes = request.get("prompt")
    _graph.set(nodes if isinstance(nodes, dict) else None)
    for node in nodes.values() if isinstance(nodes, dict) else ():
        carrier = _CARRIERS.get(node.get("class_type")) if isinstance(node, dict) else None
        if carrier and isinstance(node.get("inputs"), dict):
            node["inputs"].setdefault(carrier, "")
    user = _user.get()
    if user is not None:
        if request.get("prompt_id") is None:
            request["prompt_id"] = str(uuid.uuid4())
        _user_of_prompt.setdefault(str(request["prompt_id"]), user)
        while len(_user_of_prompt) > MOST_PROMPTS:
            _user_of_prompt.popitem(last=False)
    return request


@web.middleware
async def _note_user(request: web.Request, handler: Any) -> web.StreamResponse:
    from server import PromptServer

    try:
        user = PromptServer.instance.user_manager.get_request_user_id(request)
    except KeyError:  # ComfyUI's own routes say what they think of that
        user = None
    token = _user.set(user)
    try:
        return await handler(request)
    finally:
        _user.reset(token)
