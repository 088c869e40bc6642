"""Sampling the tiny Wan in this process: real loader, real KSampler, PSA on or off, and a spy.

Needs the `comfy_inproc` fixture before it is used (`bench` has it).
"""

import dataclasses
import itertools
from collections import Counter

import torch

from psa_pack.tools.comfy_server import gpu_with_kernels

OVERRIDE = "optimized_attention_override"
# frames, height, width of the latent: 3 x 8 x 8 = 192 tokens, six key blocks of 32
SHAPE = (1, 16, 3, 16, 16)
TEXT_TOKENS = 16
# Two ways through the same attention, relative to the largest value: float32 on a CPU; a GPU runs
# the model in float16, whose rounding grows over blocks and steps (0.7% seen on an H100).
ROUNDING = 2e-2 if gpu_with_kernels() else 1e-4


def sparse_config(**changes):
    """Small blocks, three levels and a tail: something of everything for 192 tokens."""
    from psa_kernels import PSAConfig

    settings = {
        "block_m": 64,
        "block_n": 32,
        "tile_n": 32,
        "mask_ratios": {1: (0, 0.2), 2: (0.2, 0.4), 8: (0.4, 0.6), 0: (0.6, 1)},
        "tail": 32,
        "rearrange_method": "Gilbert",
        **changes,
    }
    return PSAConfig(**settings)


def dense_level_config(**changes):
    """Every block at full resolution: dense attention by another way."""
    return sparse_config(mask_ratios={1: (0, 1)}, tail="none", **changes)


@dataclasses.dataclass(frozen=True)
class SeenCall:
    """One attention call as the spy saw it.

    block  how many calls of self-attention the model call had had before; None of cross-attention
    """

    sigma: float
    block: int | None
    queries: int
    keys: int
    batch: int
    dense: bool

    @property
    def cross(self) -> bool:
        return self.queries != self.keys


class Spy:
    """Sees every attention call of a model's runs, and whether it reached ComfyUI's attention.

    It lies on top of whatever override a call has, PSA's included, and knows nothing of PSA: dense
    is a call whose `func` was called.
    """

    def __init__(self):
        self.calls: list[SeenCall] = []

    def on(self, model):
        import comfy.patcher_extension

        model = model.clone()
        kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
        model.add_wrapper_with_key(kind, "test_spy", self._wrapper)
        return model

    def _wrapper(self, executor, *args, **kwargs):
        options = transformer_options(args, kwargs)
        inner = options.get(OVERRIDE)
        sigma = float(options["sigmas"][0])
        blocks = itertools.count()

        def override(func, *call_args, **call_kwargs):
            reached = []

            def seen(*a, **k):
                reached.append(True)
                return func(*a, **k)

            serve = seen if inner is None else lambda *a, **k: inner(seen, *a, **k)
            out = serve(*call_args, **call_kwargs)
            q, k = call_args[:2]
            axis = 2 if call_kwargs.get("skip_reshape") else 1
            tokens = q.shape[axis], k.shape[axis]
            block = next(blocks) if tokens[0] == tokens[1] else None
            self.calls.append(SeenCall(sigma, block, *tokens, q.shape[0], bool(reached)))
            return out

        options[OVERRIDE] = override
        return executor(*args, **kwargs)

    @property
    def sparse(self) -> list[SeenCall]:
        return [call for call in self.calls if not call.dense]

    def sparse_by_sigma(self) -> dict[float, int]:
        return dict(Counter(call.sigma for call in self.sparse))


def in_windows(model):
    """The model as ComfyUI's node of context windows gives it: windows of 3 latent frames of 5."""
    from comfy_extras.nodes_context_windows import WanContextWindowsManualNode

    inputs = WanContextWindowsManualNode.define_schema().inputs
    windows = {widget.id: getattr(widget, "default", None) for widget in inputs}
    windows |= {"context_length": 9, "context_overlap": 5, "context_schedule": "standard_static"}
    windows |= {"closed_loop": False, "fuse_method": "pyramid", "model": model}
    return WanContextWindowsManualNode.execute(**windows)[0]


def interrupt_at(step):
    """A callback of the sampler that interrupts it after this step."""
    import comfy.model_management

    def callback(current, *_):
        if current == step:
            comfy.model_management.interrupt_current_processing()

    return callback


def run_of(steps, config=None, on_progress=None):
    """A run that no sampler makes; `steps`: the reason why each is dense, or None."""
    from psa_engines.core.schedule import Schedule, Step
    from psa_pack.nodes.patching.run import PatchOptions, Run
    from psa_pack.nodes.preset_value import PresetValue

    plan = Schedule(tuple(Step(1.0 - i / 10, reason) for i, reason in enumerate(steps)))
    return Run(PresetValue(config or sparse_config()), PatchOptions(), plan, on_progress)


def override_of(run, step, grid=(3, 8, 8)):
    """What a model call of this step has for an override."""
    from psa_engines.core.token_grid import TokenGrid
    from psa_pack.nodes.patching.override import AttentionOverride

    return AttentionOverride(run, TokenGrid(grid, (1, 2, 2)), step, key="k", previous=None)


def agree(report, spy):
    """The report and a spy, which knows nothing of PSA, count the same."""
    dense = report["calls"]["dense"]
    assert report["calls"]["sparse"] == len(spy.sparse)
    assert sum(dense.values()) == len(spy.calls) - len(spy.sparse)
    assert dense.get("cross-attention", 0) == sum(call.cross for call in spy.calls)
    sparse_steps = {s["sigma"]: s["sparse"] for s in report["steps"] if s["sparse"]}
    # intermediate sigmas of a sampler are counted at the step they belong to
    assert sum(sparse_steps.values()) == len(spy.sparse)
    assert not any(call.cross for call in spy.sparse)
    for step, plan in zip(report["steps"], report["plan"], strict=True):
        assert plan == "sparse" or step["sparse"] == 0


def agree_by_place(logged, spy):
    """The record and the spy agree on every step and block; a call's sigma tells its step."""
    sigmas = [step["sigma"] for step in logged.report["steps"]]

    def step(sigma):
        return max(i for i, s in enumerate(sigmas) if s >= sigma * (1 - 1e-5))

    found = Counter()
    for cell in logged.record.cells:
        found[cell.step, cell.block, False] += cell.sparse
        found[cell.step, cell.block, True] += sum(cell.dense.values())
    assert +found == Counter((step(call.sigma), call.block, call.dense) for call in spy.calls)


def transformer_options(args, kwargs):
    """Those of one call of a model, from the arguments of an APPLY_MODEL wrapper."""
    return next(x for x in (*args, *kwargs.values()) if isinstance(x, dict) and "sigmas" in x)


class Bench:
    """The tiny Wan, and sampling with it."""

    def __init__(self, comfy_inproc, **size):
        self.model = comfy_inproc.tiny_wan(**size)
        self.reports = []

    def patch(
        self, config=None, *, model=None, preset=None, on_report=None, on_progress=None, **options
    ):
        """`model` (the tiny Wan) with PSA on; reports of its runs are appended to `reports`."""
        from psa_pack.nodes.patching.apply import apply_psa
        from psa_pack.nodes.patching.run import PatchOptions
        from psa_pack.nodes.preset_value import PresetValue

        value = preset or PresetValue(config or sparse_config(), name="test")
        patched = self.model if model is None else model
        on_report = on_report or self.reports.append
        return apply_psa(patched, value, PatchOptions(**options), on_report, on_progress)

    @property
    def report(self):
        return self.reports[-1]

    def sample(
        self,
        model=None,
        *,
        shape=SHAPE,
        steps=4,
        cfg=6.0,
        sampler="euler",
        scheduler="simple",
        seed=1,
        latent=None,
        text_tokens=(TEXT_TOKENS, TEXT_TOKENS),
        text_width=4096,
        conditions=None,
        positive=None,
        **options,
    ):
        """What the KSampler nodes do; `options` go to `comfy.sample.sample`.

        conditions  what other nodes would have put beside the text, positive and negative
        positive    conditioning that takes the place of the positive text
        """
        import comfy.sample

        latent = torch.zeros(shape) if latent is None else latent
        noise = comfy.sample.prepare_noise(latent, seed)
        if options.get("disable_noise"):
            noise = torch.zeros_like(latent)
        texts = [
            conditioning(i, n, text_width, **(conditions or {})) for i, n in enumerate(text_tokens)
        ]
        positive, negative = positive or texts[0], texts[1]
        with torch.inference_mode():
            return comfy.sample.sample(
                self.model if model is None else model,
                noise, steps, cfg, sampler, scheduler, positive, negative, latent,
                disable_pbar=True, seed=seed, **options,
            )  # fmt: skip


def conditioning(seed, tokens, width, **extra):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, tokens, width, generator=generator), extra]]
