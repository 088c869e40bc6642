"""What every family's layout has to show: `check`, in each of the ways to sample (`WAYS`).

The layout is not taken from anyone's word: each patch of the latent is changed alone, and the rows
of the model's first video self-attention that then change are where that patch's token is.
"""

import contextlib
import dataclasses
import itertools
import math
import random

import pytest
import torch

from .. import comfy_compiler
from ..sampling import (
    OVERRIDE,
    ROUNDING,
    Spy,
    dense_level_config,
    sparse_config,
    transformer_options,
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """A latent, what goes with it, and the layout that the model makes of both.

    latent       [channels, frames, height, width], an image [channels, height, width]
    grid         the tokens that PSA may thin out
    patch        what a token spans in the latent
    lead         frames of the latent that are in `before`: references that the model expects there
    given        leading frames that the model takes from a condition and not from the latent
    behind       frames of the latent that are in `after`
    audio        the latent packed with it, without a batch: its tokens are elsewhere
    calls        video self-attention calls in one call of the model
    text         (tokens, width) of prompt and negative prompt
    text_inside  the video's self-attention has the text's tokens too
    alone        what `before` is in the blocks' other self-attention, which leaves the text out
    conditions   what other nodes put beside the text
    dense        why other calls are dense; None: "cross-attention", or nothing if `text_inside`
    whole_video  the model gets a condition for every frame of the latent
    family       whose layout it is; `covers` fills it in
    refused      what the model itself says when it fails on this, a pattern
    options      of the sampler, as `cfg` and `noise_mask`
    needs        an argument of the model that older versions do not have
    """

    latent: tuple[int, ...]
    grid: tuple[int, int, int]
    before: int = 0
    after: int = 0
    patch: tuple[int, int, int] = (1, 2, 2)
    lead: int = 0
    given: int = 0
    behind: int = 0
    audio: tuple[int, ...] = ()
    calls: int = 2
    text: tuple[int, int] = (20, 4096)
    text_inside: bool = False
    alone: int | None = None
    conditions: dict = dataclasses.field(default_factory=dict)
    dense: tuple[str, ...] | None = None
    whole_video: bool = False
    family: str = ""
    refused: str = ""
    options: dict = dataclasses.field(default_factory=dict)
    needs: str = ""

    @property
    def length(self) -> int:
        return self.before + math.prod(self.grid) + self.after

    @property
    def reasons(self) -> set[str]:
        if self.dense is None:
            return set() if self.text_inside else {"cross-attention"}
        return set(self.dense)

    @property
    def both(self) -> list["Layout"]:
        """This one, and that of the blocks' other self-attention if they have any."""
        if self.alone is None:
            return [self]
        return [self, dataclasses.replace(self, before=self.alone, alone=None)]


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to sample; `window`: frames of the latent in a context window."""

    batch: int = 1
    split: bool = False
    window: int = 0


ONE = Way()
# feature of the coverage table -> how it is sampled; other features differ in the layout only
WAYS = {
    "batch 3": Way(batch=3),
    "CFG split": Way(split=True),
    "context windows": Way(window=3),
}


def mismatch(a, b):
    """What torch says of two sizes that should be one."""
    return rf"size of tensor a \({a}\) must match the size of tensor b \({b}\)"


def covers(family, feature, layout, *, id=None, cannot="", **outcome):
    """A test parameter (layout, way) that is marked with what it shows; `cannot`: see `refused`."""
    if cannot:
        outcome["cannot"] = True
    layout = dataclasses.replace(layout, family=family, refused=cannot)
    mark = pytest.mark.covers(family, feature, **outcome)
    return pytest.param(layout, WAYS.get(feature, ONE), marks=mark, id=id or f"{family}, {feature}")


def check(bench, monkeypatch, model, layout, way=ONE):
    """PSA knows the model's layout, and full resolution in Gilbert order gives the dense result."""
    if way.window and layout.whole_video and bool(layout.refused) == windows_cut_conditions():
        pytest.skip("of another version of ComfyUI's context windows")
    if layout.refused:
        return check_refused(bench, model, layout, way, match=layout.refused)
    if way.window:
        model = with_windows(model, way.window)
    if way.split and layout.text_inside:
        room_for(monkeypatch, model, way.batch)
    sample = sampler(bench, layout, way)
    for one in layout.both:
        probe = Probe(one, way)
        plain = sample(probe.on(model))
        probe.compare()

    told, said = watch(monkeypatch)
    spy = Spy()
    out = sample(spy.on(bench.patch(dense_level_config(), model=model)))
    assert {(grid.grid, grid.before, grid.after) for grid in said} == {
        (layout.grid, layout.before, layout.after)
    }
    assert set(told) == {(one.grid, (one.before, one.after)) for one in layout.both}
    assert {call.queries for call in spy.sparse} == {one.length for one in layout.both}
    report = bench.reports[-1]
    assert report["failure"] is None
    assert report["calls"]["sparse"] == len(spy.sparse) == layout.calls * len(said)
    assert set(report["calls"]["dense"]) == layout.reasons
    # both conditions in one call of the model, unless they cannot be
    conditions = 1 if layout.options.get("cfg") == 1.0 else 2
    assert {call.batch for call in spy.sparse} == {way.batch * (1 if way.split else conditions)}
    if not way.window:
        assert len(said) == 2 * (2 if way.split else 1)
    assert torch.isfinite(out).all()
    # another order of summation
    assert (out - plain).abs().max() < ROUNDING * plain.abs().max()

    patched = bench.patch(sparse_config(), model=model)
    recorded = way == ONE
    thinned = check_recorded(monkeypatch, model, patched, sample) if recorded else sample(patched)
    assert torch.isfinite(thinned).all()
    assert bench.reports[-1]["calls"]["sparse"] == len(spy.sparse)
    if math.prod(layout.grid) >= 64:
        # two key blocks or more: there was something to leave out
        assert (thinned - plain).abs().max() > 1e-3 * plain.abs().max()


def check_recorded(monkeypatch, model, patched, sample):
    """The latent; what the model's own steps take of memory does not hang on PSA's."""
    with monkeypatch.context() as patch:
        compiler = comfy_compiler.install(patch)
        with compiler.on(patched.model.diffusion_model):
            out = sample(patched)
        compiler.look_for_kept()
        own = comfy_compiler.install(patch)
        if compiler.kept:  # some models keep something themselves, as Cosmos-Predict2 does
            with own.on(model.model.diffusion_model):
                sample(model)
            own.look_for_kept()
    compiler.check(kept=own.kept)
    return out


def check_dense(bench, model, layout, reasons, way=ONE):
    """PSA leaves the model as it is: every call dense, for one of `reasons`."""
    if way.window:
        model = with_windows(model, way.window)
    sample = sampler(bench, layout, way)
    plain = sample(model)
    spy = Spy()
    assert torch.equal(sample(spy.on(bench.patch(model=model))), plain)
    calls = bench.reports[-1]["calls"]
    assert calls["sparse"] == len(spy.sparse) == 0
    assert set(calls["dense"]) == set(reasons)
    assert sum(calls["dense"].values()) == len(spy.calls)


def check_refused(bench, model, layout, way=ONE, *, match, does=None):
    """ComfyUI's own model fails on this, PSA or not, and on nothing else.

    `does` is a layout that differs in this only; None where the way to sample is what it fails on.
    """
    usual = Way(split=way.split)
    assert (does is None) == (way != usual), "one of the two is what the model fails on"
    assert torch.isfinite(sampler(bench, does or layout, usual)(model)).all()
    if way.window:
        model = with_windows(model, way.window)
    with pytest.raises((RuntimeError, AssertionError), match=match):
        sampler(bench, layout, way)(model)


def windows_cut_conditions():
    """Older context windows hand conditions of the whole video to the model with each window."""
    import comfy.context_windows

    return hasattr(comfy.context_windows, "slice_cond")


def sampler(bench, layout, way):
    """sample(model) -> the latent after two steps."""
    text, width = layout.text
    # texts of different lengths are what ComfyUI cannot batch; inside, they make two layouts
    more = 3 if way.split and not layout.text_inside else 0
    options = {
        "shape": (way.batch, *layout.latent),
        "steps": 2,
        "text_tokens": (text, text + more),
        "text_width": width,
        "conditions": layout.conditions,
        **layout.options,
    }
    if not layout.audio:
        return lambda model: bench.sample(model, **options)
    return lambda model: _sample_packed(bench, model, options, (way.batch, *layout.audio))


def _sample_packed(bench, model, options, audio):
    import comfy.nested_tensor

    latents = [torch.zeros(options["shape"]), torch.zeros(audio)]
    out = bench.sample(model, **options, latent=comfy.nested_tensor.NestedTensor(latents))
    return torch.cat([latent.flatten() for latent in out.unbind()])


def room_for(monkeypatch, model, batch):
    """ComfyUI finds memory for `batch` latents at once, and not for more."""
    required = model.model.memory_required

    def memory_required(input_shape, *args, **kwargs):
        if input_shape[0] > batch:
            return 1e20
        return required(input_shape, *args, **kwargs)

    monkeypatch.setattr(model.model, "memory_required", memory_required)


def with_windows(model, frames):
    """The model with ComfyUI's context windows, all of `frames` latent frames."""
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode as Windows

    wanted = {"context_length": frames, "context_overlap": 1, "dim": 2, "freenoise": False}
    wanted |= {"context_schedule": "standard_static", "fuse_method": "pyramid"}
    # its anchor frame makes later windows longer than the first
    wanted |= {"causal_window_fix": False}
    inputs = Windows.define_schema().inputs
    settings = {widget.id: getattr(widget, "default", None) for widget in inputs}
    settings |= {name: value for name, value in wanted.items() if name in settings}
    del settings["model"]
    return Windows.execute(model, **settings)[0]


def watch(monkeypatch):
    """(told, said): what PSA was called with, what the readers answered."""
    from psa_engines.core import deciding
    from psa_pack.nodes.patching import around_call

    told, said = [], []
    read, attention = around_call.token_grid, deciding.psa_attention

    def psa_attention(*args, grid, extra_tokens, **kwargs):
        told.append((grid, extra_tokens))
        return attention(*args, grid=grid, extra_tokens=extra_tokens, **kwargs)

    def token_grid(call):
        said.append(read(call))
        return said[-1]

    monkeypatch.setattr(deciding, "psa_attention", psa_attention)
    monkeypatch.setattr(around_call, "token_grid", token_grid)
    return told, said


class _EnoughError(Exception):
    """The first video self-attention is reached; the rest of the model's call is of no use."""


class Probe:
    """Finds, in the first call of a model, the row of the sequence that each latent patch is in."""

    def __init__(self, layout, way):
        self.layout = layout
        channels, frames, *sides = layout.latent
        frames = way.window + layout.behind if way.window else frames
        self.packed = (channels, frames, *sides) if layout.audio else None
        self.size: tuple[int, ...] = ()
        self.rows: dict[tuple[int, ...], list[int]] = {}

    def on(self, model):
        import comfy.patcher_extension

        model = model.clone()
        kind = comfy.patcher_extension.WrappersMP.APPLY_MODEL
        model.add_wrapper_with_key(kind, "test_probe", self._wrapper)
        return model

    def _wrapper(self, executor, x, *args, **kwargs):
        if not self.rows:
            size = self._video(x).shape[2:]
            self.size = tuple(-(-n // p) for n, p in zip(size, self.layout.patch, strict=True))
            unchanged = self._queries(executor, x, args, kwargs)
            for place in self._places():
                changed = self._queries(executor, self._changed(x, place), args, kwargs)
                difference = (changed - unchanged).abs().amax((0, 1, 3))
                moved = difference.gt(1e-5 * unchanged.abs().max())
                self.rows[place] = moved.nonzero()[:, 0].tolist()
        return executor(x, *args, **kwargs)

    def _places(self):
        """All corners, and some in between."""
        size = (self.size[0] - self.layout.behind, *self.size[1:])
        corners = itertools.product(*({0, n - 1} for n in size))
        inside = random.Random(0)
        between = [tuple(inside.randrange(n) for n in size) for _ in range(4)]
        return sorted({*corners, *between})

    def _changed(self, x, place):
        """`x` with the last element of one patch changed: no padding repeats that one."""
        x = x.clone()
        video = self._video(x)
        axes = zip(place, self.layout.patch, video.shape[2:], strict=True)
        frame, row, column = (min((i + 1) * patch, size) - 1 for i, patch, size in axes)
        video[:, :, frame, row, column] += 1
        return x

    def _video(self, x):
        """A view of `x`, [B, C, frames, height, width]; of packed latents the first."""
        if self.packed:
            return x.flatten(1)[:, : math.prod(self.packed)].unflatten(1, self.packed)
        return x if x.dim() == 5 else x.unsqueeze(2)

    def _queries(self, executor, x, args, kwargs):
        """q, [B, H, L, D], of the first self-attention over as many tokens as are expected."""
        from psa_pack.nodes.patching.attention_call import AttentionCall

        seen = []

        def override(func, *call_args, **call_kwargs):
            call = AttentionCall.read(call_args, call_kwargs)
            if call is not None and call.tokens == (self.layout.length,) * 2:
                seen.append(call.split_heads()[0].float().clone())
                raise _EnoughError
            if call is not None and len(set(call.tokens)) == 1 and call.unsupported() is None:
                # every token to itself, so that each can still be followed
                v = call.split_heads()[2]
                return call.join_heads(v.repeat_interleave(call.heads // v.shape[1], dim=1))
            return func(*call_args, **call_kwargs)

        options = transformer_options(args, kwargs)
        own = {**options, OVERRIDE: override}
        args = tuple(own if value is options else value for value in args)
        kwargs = {name: own if value is options else value for name, value in kwargs.items()}
        with contextlib.suppress(_EnoughError):
            executor(x.clone(), *args, **kwargs)
        assert seen, f"no self-attention over {self.layout.length} tokens"
        return seen[0]

    def compare(self):
        frames, height, width = self.layout.grid
        assert self.size == (self.layout.lead + frames + self.layout.behind, height, width)
        first = self.layout.before - self.layout.lead * height * width
        assert self.rows == {
            (frame, row, column): [first + (frame * height + row) * width + column]
            if frame >= self.layout.given
            else []
            for frame, row, column in self.rows
        }
