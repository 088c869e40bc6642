"""A node pack for the tests only: another pack's attention override, before or after Apply PSA, and
a switch for values of any type."""

import functools
import json
import threading
import time
from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyExtension, io

OVERRIDE = "optimized_attention_override"
_writing = threading.Lock()


class PSATestSpy(io.ComfyNode):
    """Appends one line per attention call to output/spy_<label>.jsonl, and passes the call on."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PSATestSpy",
            display_name="PSA Test Spy",
            category="PSA/test",
            inputs=[
                io.Model.Input("model"),
                io.String.Input("label", default="spy"),
                io.Float.Input("gain", default=1.0, min=-100.0, max=100.0, step=0.001),
                io.Float.Input("delay", default=0.0, min=0.0, max=10.0, step=0.01),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model, label, gain, delay) -> io.NodeOutput:
        log = Path(folder_paths.get_output_directory()) / f"spy_{label}.jsonl"
        model = model.clone()
        options = model.model_options.setdefault("transformer_options", {})
        previous = options.get(OVERRIDE)

        def override(func, *args, **kwargs):
            _append(log, _describe(func, args, kwargs))
            time.sleep(delay)
            attend = func if previous is None else functools.partial(previous, func)
            out = attend(*args, **kwargs)
            return out if gain == 1.0 else out * gain

        options[OVERRIDE] = override
        return io.NodeOutput(model)


class PSATestSwitch(io.ComfyNode):
    """Hands on one of two values, whatever their type, as switches of many packs do."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="PSATestSwitch",
            display_name="PSA Test Switch",
            category="PSA/test",
            inputs=[
                io.AnyType.Input("first", optional=True),
                io.AnyType.Input("second", optional=True),
                io.Boolean.Input("use_second", default=False),
            ],
            outputs=[io.AnyType.Output()],
        )

    @classmethod
    def execute(cls, first=None, second=None, use_second=False) -> io.NodeOutput:
        return io.NodeOutput(second if use_second else first)


def _describe(func, args, kwargs) -> dict:
    q, k = args[0], args[1]
    options = kwargs.get("transformer_options") or {}
    sigmas = options.get("sigmas")
    return {
        "func": getattr(func, "__name__", str(func)),
        "q": list(q.shape),
        "k": list(k.shape),
        "heads": kwargs.get("heads", args[3] if len(args) > 3 else None),
        "sigma": None if sigmas is None else float(sigmas[0]),
        "self_attention": q.shape == k.shape,
    }


def _append(log: Path, record: dict) -> None:
    with _writing, open(log, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


class TestNodes(ComfyExtension):
    async def get_node_list(self):
        return [PSATestSpy, PSATestSwitch]


async def comfy_entrypoint():
    return TestNodes()
