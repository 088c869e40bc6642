"""What every family's layout is held against: the rows in which a change of the latent arrives."""

import dataclasses
import inspect
import itertools
import math
import sys

import pytest
import torch

from ..sampling import (
    OVERRIDE,
    ROUNDING,
    Spy,
    dense_level_config,
    sparse_config,
    transformer_options,
)

STEPS = 2


@dataclasses.dataclass(frozen=True)
class Case:
    """One model call's inputs and the layout that they have.

    model       changes of the model's settings
    latent      `[channels, frames, height, width]` or `[channels, height, width]`, without batch
    audio       the same of a second latent, packed beside it
    text        tokens of the prompt
    needs       a word in the model's source that older versions lack
    """

    latent: tuple[int, ...]
    grid: tuple[int, int, int]
    before: int = 0
    after: int = 0
    patch: tuple[int, int, int] = (1, 2, 2)
    model: dict = dataclasses.field(default_factory=dict)
    conditions: dict = dataclasses.field(default_factory=dict)
    text: int = 20
    cfg: float = 6.0
    audio: tuple[int, ...] = ()
    needs: str = ""

    @property
    def length(self):
        return self.before + math.prod(self.grid) + self.after


def latent_of(case, batch=1):
    import comfy.nested_tensor

    latents = [torch.zeros(batch, *shape) for shape in (case.latent, case.audio) if shape]
    return latents[0] if len(latents) == 1 else comfy.nested_tensor.NestedTensor(latents)


def sample(bench, model, case, width, batch=1, **options):
    out = bench.sample(
        model,
        latent=latent_of(case, batch),
        text_tokens=options.pop("text_tokens", (case.text, case.text)),
        text_width=width,
        cfg=options.pop("cfg", case.cfg),
        conditions=case.conditions,
        steps=STEPS,
        **options,
    )
    return torch.cat([x.flatten() for x in (out.unbind() if out.is_nested else [out])])


def check(bench, monkeypatch, model, case, width, blocks, **options):
    """The layout is the model's own, and full-resolution PSA in Gilbert order is dense attention.

    blocks  self-attention calls over the video in one call of the model
    options go to the sampler
    """
    if case.needs and not _mentions(model, case.needs):
        kind = type(model.model.diffusion_model).__name__
        pytest.skip(f"this ComfyUI's {kind} has no {case.needs}")
    rows = Rows(case)
    sample(bench, rows.on(model), case, width, **options)
    said = check_results(bench, monkeypatch, model, case, width, blocks, **options)
    assert len(rows.moved) == len(rows.places) > 0
    for place, moved in zip(rows.places, rows.moved, strict=True):
        assert moved == {case.before + _index(place, case.grid)}, place
    for grid in said:
        assert (grid.grid, grid.before, grid.after) == (case.grid, case.before, case.after)


def check_results(bench, monkeypatch, model, case, width, blocks, split=False, **options):
    """Every call over the video sparse, full resolution equal to dense; the layouts PSA used."""
    said = _heard(monkeypatch)
    if split:
        _no_memory(monkeypatch)
    plain = sample(bench, model, case, width, **options)
    spy = Spy()
    dense_level = bench.patch(dense_level_config(), model=model)
    out = sample(bench, spy.on(dense_level), case, width, **options)
    used = list(said)
    assert bench.report["failure"] is None
    assert {call.queries for call in spy.sparse} == {grid.length for grid in used}
    assert len(spy.sparse) == bench.report["calls"]["sparse"] == blocks * len(used)
    # another order of summation
    assert (out - plain).abs().max() < ROUNDING * plain.abs().max()
    sparse = sample(bench, bench.patch(sparse_config(), model=model), case, width, **options)
    assert sparse.isfinite().all()
    assert (sparse - plain).abs().max() > 1e-4 * plain.abs().max()
    return used


def _no_memory(monkeypatch):
    """What a full card reports: ComfyUI then runs one condition at a time."""
    import comfy.model_management

    def free(dev=None, torch_free_too=False):
        return (1, 1) if torch_free_too else 1

    monkeypatch.setattr(comfy.model_management, "get_free_memory", free)


class Rows:
    """Where in the model's attention a change of one latent pixel arrives first.

    In the first step the model is called again with one pixel changed, at a few places; before
    the first attention call of full length nothing has mixed the tokens yet.
    """

    def __init__(self, case):
        self.case = case
        corners = [{min(1, n - 1), n - 1} for n in case.grid]
        self.places = sorted(itertools.product(*corners))
        self.moved = []

    def on(self, model):
        import comfy.patcher_extension

        model = model.clone()
        kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
        model.add_wrapper_with_key(kind, "test_rows", self._wrapper)
        return model

    def _wrapper(self, executor, x, *args, **kwargs):
        if self.moved:
            return executor(x, *args, **kwargs)
        queries = self._first_queries(executor, x, args, kwargs)
        for place in self.places:
            changed = self._first_queries(executor, self._changed(x, place), args, kwargs)
            differs = (changed - queries).abs().amax(dim=(0, 2)) > 0
            self.moved.append(set(differs.nonzero().flatten().tolist()))
        return executor(x, *args, **kwargs)

    def _changed(self, x, place):
        latent = self.case.latent
        x = x.clone()
        video = x.flatten(1)[:, : math.prod(latent)].view(-1, *latent)
        size = (1,) * (4 - len(latent)) + latent[1:]
        pixel = [i * p for i, p in zip(place, self.case.patch, strict=True)]
        video.view(-1, latent[0], *size)[(..., *pixel)] += 3.0
        return x

    def _first_queries(self, executor, x, args, kwargs):
        seen = []

        def override(func, *call_args, **call_kwargs):
            q = call_args[0]
            if call_kwargs.get("skip_reshape"):
                q = q.transpose(1, 2).flatten(2)
            if q.shape[1] == self.case.length and not seen:
                seen.append(q.clone())
            return func(*call_args, **call_kwargs)

        own = {**transformer_options(args, kwargs), OVERRIDE: override}
        args = [own if isinstance(a, dict) and "sigmas" in a else a for a in args]
        executor(x, *args, **kwargs)
        assert seen, f"no attention over {self.case.length} tokens"
        return seen[0]


def _index(place, grid):
    return (place[0] * grid[1] + place[1]) * grid[2] + place[2]


def _heard(monkeypatch):
    """Every layout that a reader gives from here on."""
    from psa_pack.nodes.patching import apply

    said, real = [], apply.token_grid

    def token_grid(call):
        said.append(real(call))
        return said[-1]

    monkeypatch.setattr(apply, "token_grid", token_grid)
    return said


def _mentions(model, word):
    return word in inspect.getsource(sys.modules[type(model.model.diffusion_model).__module__])


# Ways of sampling that any model must survive: options of `sample`.
WAYS = {
    "a batch of three": {"batch": 3},
    "one condition": {"cfg": 1.0},
    "conditions in two calls": {"split": True},
    "prompts of two lengths": {"text_tokens": (20, 13)},
}
