"""Random faults at random places of random renders, and of compiled models: `--faults 500
--compiled-faults 500` for the long run.

After each: the video is there, PSA's report tells the truth, nothing is left in memory, and the
next render is, bit for bit, what it would have been.
"""

import contextlib
import logging
import random
import weakref
from dataclasses import dataclass, field

import pytest
import torch

from ..composition.compiling import breaks, compiled, forget, graphs
from ..leftovers import left_behind, tensors_alive
from ..sampling import SeenCall, Spy, sparse_config
from ..test_sampling_exact import snapshot
from .injection import (
    COMPILED,
    PLACES,
    PLANNING,
    REPORTING,
    Told,
    injected,
    interrupts,
    random_fault,
)

SHAPE = (16, 2, 16, 12)
STEPS = 4


def pytest_generate_tests(metafunc):
    for name, option in (("seed", "--faults"), ("compiled_seed", "--compiled-faults")):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, range(metafunc.config.getoption(option)))


@dataclass(frozen=True)
class Render:
    """One way of rendering; `split`: by two models in a row, as the experts of Wan 2.2."""

    order: str
    warmup: int
    sampler: str
    cfg: float
    batch: int
    text_tokens: tuple[int, int]
    split: bool

    @classmethod
    def random(cls, rng):
        return cls(
            rng.choice(["Gilbert", "STA", "SemanticAware", "Hybrid"]),
            rng.choice([0, 1, 2]),
            rng.choice(["euler", "heun", "dpm_2", "uni_pc", "euler_ancestral", "seeds_2", "lcm"]),
            rng.choice([1.0, 5.0]),
            rng.choice([1, 2]),
            rng.choice([(16, 16), (16, 17)]),
            rng.random() < 0.3,
        )

    @property
    def config(self):
        return sparse_config(
            rearrange_method=self.order, warmup_steps=self.warmup, verbose=self.warmup == 1
        )

    def run(self, bench, models):
        sampling = {
            "steps": STEPS, "cfg": self.cfg, "sampler": self.sampler, "seed": 3,
            "shape": (self.batch, *SHAPE), "text_tokens": self.text_tokens,
        }  # fmt: skip
        if not self.split:
            return bench.sample(models[0], **sampling)
        half = bench.sample(models[0], last_step=2, **sampling)
        return bench.sample(models[1], start_step=2, latent=half, disable_noise=True, **sampling)


# of one shape: one graph serves them all
COMPILED_RENDERS = (
    Render("Gilbert", 1, "euler", 5.0, 1, (16, 16), False),
    Render("SemanticAware", 0, "heun", 5.0, 1, (16, 16), True),
    Render("Hybrid", 0, "dpm_2", 5.0, 1, (16, 16), False),
    Render("STA", 2, "euler_ancestral", 5.0, 1, (16, 16), True),
)


@dataclass
class Renders:
    """Pictures without faults, each rendered once a session, with PSA and without."""

    bench: object
    known: dict = field(default_factory=dict)
    compiled: set = field(default_factory=set)

    def compile(self, render):
        """Makes the graphs that compiled models need for it, and sees what they give."""
        if render not in self.compiled:
            self.compiled.add(render)
            models = [compiled(self.bench.patch(render.config)) for _ in "ab"]
            assert torch.equal(render.run(self.bench, models), self.of(render, True))

    def of(self, render, psa):
        if (render, psa) not in self.known:
            bench = self.bench
            models = [bench.patch(render.config) for _ in "ab"] if psa else [bench.model] * 2
            self.known[render, psa] = render.run(bench, models)
        return self.known[render, psa]


@pytest.fixture(scope="session")
def renders(session_bench):
    return Renders(session_bench)


@pytest.fixture
def messages():
    """What PSA logs, with its level; the records themselves are dropped."""
    said = []

    class Listener(logging.Handler):
        def emit(self, record):
            said.append((record.levelno, record.getMessage()))

    listener = Listener()
    logger = logging.getLogger("PSA")
    logger.addHandler(listener)
    yield said
    logger.removeHandler(listener)


def patched(bench, render, told):
    from psa_pack.nodes.patching.apply import apply_psa
    from psa_pack.nodes.patching.run import PatchOptions
    from psa_pack.nodes.preset_value import PresetValue

    # looked up late: a fault may sit in their place
    callbacks = (lambda report: told.report(report)), (lambda message: told.progress(message))
    value = PresetValue(render.config, name="test")
    return [apply_psa(bench.model, value, PatchOptions(), *callbacks) for _ in "ab"]


def watched(spies, models):
    """Models on which the spies see every attention call that a run has, from above."""
    return contextlib.nullcontext([spy.on(model) for spy, model in zip(spies, models, strict=True)])


@contextlib.contextmanager
def watched_inside(spies, models):
    """The same of compiled models: an override over PSA's would split their graphs.

    What an operator asks is seen, by whichever run it belongs to.
    """
    from psa_pack.nodes.patching.override import AttentionOverride

    runs, real = [], AttentionOverride.__call__

    def call(self, func, *args, **kwargs):
        if not any(run() is self.run for run in runs):
            runs.append(weakref.ref(self.run))
        spy = spies[[run() is self.run for run in runs].index(True)]
        reached = []

        def seen(*a, **k):
            reached.append(True)
            return func(*a, **k)

        out = real(self, seen, *args, **kwargs)
        spy.calls.append(SeenCall(0, None, 0, 0, 0, bool(reached)))
        return out

    AttentionOverride.__call__ = call
    try:
        yield models
    finally:
        AttentionOverride.__call__ = real


def test_a_render_survives(bench, renders, messages, seed):
    rng = random.Random(seed)
    render = Render.random(rng)
    faults = [random_fault(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
    survives(bench, renders, messages, render, faults)


def test_a_render_of_a_compiled_model_survives(bench, renders, messages, compiled_seed):
    """One graph all the while, so that every fault comes up inside an operator of it."""
    rng = random.Random(compiled_seed)
    render = COMPILED_RENDERS[compiled_seed % len(COMPILED_RENDERS)]
    # those of operators are few
    places = (*PLACES, *COMPILED * 4)
    faults = [random_fault(rng, places) for _ in range(rng.choice([1, 1, 2, 3]))]
    renders.compile(render)
    before = graphs()
    survives(bench, renders, messages, render, faults, compiled, watched_inside)
    unplanned = any("cannot plan" in text for _, text in messages)  # a graph without PSA
    assert breaks() == 0 and (unplanned or graphs() == before)


@pytest.fixture(scope="module", autouse=True)
def _graphs_of_this_module():
    """Those of tests before are not counted here, nor these in tests to come."""
    forget()
    yield
    forget()


def survives(
    bench, renders, messages, render, faults, compiling=lambda model: model, watch=watched
):
    expected, dense = renders.of(render, True), renders.of(render, False)
    told, spies = Told(), (Spy(), Spy())
    models = [compiling(model) for model in patched(bench, render, told)]
    options = [snapshot(model.model_options) for model in models]
    messages.clear()
    before = tensors_alive()

    out = stopped = None
    with injected(faults) as fired, watch(spies, models) as seen:
        try:
            out = render.run(bench, seen)
        except interrupts() as error:
            stopped = type(error)
    del seen
    what = ", ".join(map(str, fired)) or "nothing came to pass"

    # no render is lost, and what the user stops is stopped
    asked = [fault.kind for fault in fired if fault.kind in interrupts()]
    assert stopped is (asked[0] if asked else None), what
    if out is not None:
        assert out.shape == expected.shape and torch.isfinite(out).all(), what
        if not fired:
            assert torch.equal(out, expected)

    check_what_was_told(fired, told.reports, spies, messages, what)
    aside = [report["failure"] for report in told.reports]
    if out is not None and aside and all(aside) and not any(spy.sparse for spy in spies):
        assert torch.equal(out, dense), what

    # nothing is left
    spies[0].calls.clear(), spies[1].calls.clear()
    del out
    assert not left_behind(), what
    told.reports.clear()
    assert tensors_alive() <= before, what
    assert [snapshot(model.model_options) for model in models] == options, what
    assert torch.is_autocast_cache_enabled()

    # and nothing shows in the next render of the same models
    assert torch.equal(render.run(bench, models), expected), what
    assert [report["failure"] for report in told.reports] == [None] * (1 + render.split)


def check_what_was_told(fired, reports, spies, messages, what):
    names = [fault.place.name for fault in fired]
    stopped = any(fault.kind in interrupts() for fault in fired)
    errors = [fault for fault in fired if fault.kind not in interrupts()]
    aside = [text for _, text in messages if "steps aside" in text]
    told_aside = [report for report in reports if report["failure"]]
    loud = [text for level, text in messages if level >= logging.WARNING]
    unreported = any(name in names for name in REPORTING)

    # one message a run, with its traceback; the report names the error
    assert len(aside) <= sum(bool(spy.calls) for spy in spies), what
    assert all("Traceback" in text for text in aside), what
    if any(fault.certain for fault in errors) and not stopped:
        assert aside, what
    assert not aside or any(fault.place.tells for fault in errors), what
    assert errors or not loud, (what, loud)
    if not unreported:
        assert len(told_aside) == len(aside), what
    texts = [fault.text for fault in errors if fault.place.tells]
    for report in told_aside:
        assert any(text in report["failure"] for text in texts), (what, report["failure"])
    # a fault that costs a figure or a line says so too
    if any(fault.certain or not fault.place.tells for fault in errors) and not stopped:
        assert loud, what

    # the counts of what was reported are those of the spies
    if unreported or any(name in names for name in (*PLANNING, "Recorder._cell")):
        return
    used = [spy for spy in spies if spy.calls]
    assert len(reports) >= len(used), what
    for report, spy in zip(reports, used, strict=False):
        calls = report["calls"]
        assert calls["sparse"] == len(spy.sparse), what
        assert calls["sparse"] + sum(calls["dense"].values()) == len(spy.calls), what
        assert (report["ended"] is not None) == (stopped and report is reports[-1]), what
