"""The part "peers": the same clips with other projects' attention, and the time of their calls.

A peer serves every self-attention call after the same dense steps, at the settings of
`sparse_peers.py`; `sol_attn` at tau 1.3 with 256 tokens added is how ComfyUI's own node calls it.
"Along the curve": with its tokens in Gilbert order, which its users would have to arrange and which
is not in its time.

Times are the mean of a call over the run, with the fastest exact attention in dense steps, on q, k,
v of a larger clip (`--time-grid`), all layers' heads side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch

from psa_kernels import PSAConfig
from psa_kernels.tune.timing import Clock, alternate

from ..dense_peers import dense_methods
from ..method import Method, Problem, Unavailable
from ..psa_methods import psa_method
from ..sparse_peers import find_peers, sparse_methods
from .decide import GENTLE, PRESETS, Budget
from .density import cost_of_run, solve, sparse_steps
from .settings import BLOCK, PEERS, Setting, Settings, named
from .subject import Clip, RunFailed, Sampled, Sampling, Subject
from .watch import Seen, replaced, watched

TABLE = "peers, dense steps as ComfyUI's node has them"
LEFT_OUT = ("FlexAttention", "upstream")  # what PSA itself can be set to
DENSITIES = (0.1, 0.2, 0.3)  # of block-sparse attention
EXACT = "dense"
SECONDS_EACH = 1.0  # of timing


@dataclass
class Peer:
    """A method with the order of its tokens.

    dtype    that it gets, None for the caller's; density: see `Method`; served: calls so far
    """

    method: Method
    order: str
    grid: tuple[int, int, int]
    dtype: torch.dtype | None = None
    density: float | None = None
    served: int = 0
    _curve: torch.Tensor | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        return self.method.name + ", along the curve" * (self.order == "curve")

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """`[1, H, L, D]` of such q, k, v, tokens in the caller's order."""
        self.served += 1
        q, k, v = (x.to(self.dtype or x.dtype) for x in (q, k, v))
        if self.order != "curve":
            return self.method.prepare(Problem(q, k, v, self.grid, 0))()
        if self._curve is None:
            self._curve = Problem(q, k, v, self.grid, 0).curve
        moved = (x[:, :, self._curve].contiguous() for x in (q, k, v))
        found = self.method.prepare(Problem(*moved, self.grid, 0, "curve"))()
        out = torch.empty_like(found)
        out[:, :, self._curve] = found
        return out


def peers(grid: tuple[int, int, int]) -> list[Peer]:
    """All that are not exact, whether they are available here or not."""
    methods = [m for m in dense_methods() if m.kind != EXACT] + sparse_methods()
    return [
        Peer(method, order, grid)
        for method in methods
        if not method.name.startswith(LEFT_OUT)
        for order in method.orders
    ]


def rows(job) -> Settings:
    """`settings` of a run; every peer is tried on a call of the first clip."""
    find_peers()
    usable = tried(*_calls(job, job.sampling, last=True))
    return settings(
        job.families, job.tokens, job.sampling.steps, job.warm_up, usable, job.peers.values()
    )


def measure_times(job, rows: list[Setting]) -> None:
    """Adds a "time" line to the results for each row that has none."""
    todo = [row for row in rows if not job.results.has("time", key=row.key)]
    if not todo or job.late:
        return
    grid = job.time_grid or job.sampling.grid
    job.say(f"peers: calls of {grid[0]} x {grid[1]} x {grid[2]} tokens are timed")
    few = replace(job.sampling, grid=grid, steps=min(4, job.sampling.steps))
    q, k, v = (x.to(torch.bfloat16) for x in _calls(job, few))
    with torch.inference_mode():
        problem = Problem(q, k, v, grid, 0)
        times = call_times(problem, todo, job.peers.values(), job.sampling.steps)
    for key, found in times.items():
        job.results.add("time", key=key, heads=q.shape[1], grid=list(grid), **found)


def _calls(job, sampling: Sampling, last: bool = False) -> tuple[torch.Tensor, ...]:
    """q, k, v `[1, H, L, D]` of a dense run's middle step: all layers' heads side by side, or the
    last layer's alone."""
    found: list[tuple[torch.Tensor, ...]] = []

    def visit(seen: Seen) -> None:
        if seen.step == sampling.steps // 2:
            if last:
                found.clear()
            found.append(tuple(x.clone() for x in (seen.q, seen.k, seen.v)))

    job.subject.dense(Clip.number(0), sampling, watched(job.subject.model, visit))
    return tuple(torch.cat(x, 1) for x in zip(*found, strict=True))


def settings(
    families: Iterable, tokens: int, steps: int, warm_up: int, usable: Callable[[Peer], str],
    known: Iterable[Peer],
) -> Settings:  # fmt: skip
    """Presets, block-sparse attention, falling budgets at the presets' costs, and peers.

    usable  why a peer is not available, "" for one that is
    """
    found, presets = Settings(), named(families)

    def add(label: str, make: Callable[[], PSAConfig], peer: str = "") -> None:
        found.add(PEERS, TABLE, label, make)
        if peer and found.rows and found.rows[-1].label == label:
            found.rows[-1] = Setting(**{**vars(found.rows[-1]), "peer": peer})

    for name in PRESETS:
        preset = presets[name]
        add(f"PSA {name}", lambda own=preset: own)
        if preset.grouping == "order":
            add(f"PSA {name}, like keys", lambda own=preset: own.replace(grouping="similar"))
        else:
            add(f"PSA {name}, token order", lambda own=preset: own.replace(grouping="order"))
    for name in PRESETS:
        budget = Budget(tokens, steps, cost_of_run(presets[name], tokens, steps))
        dense = round(0.1 * steps)
        add(f"PSA at the cost of {name}, {dense} dense, falling",
            lambda own=budget, n=dense: own.plan(n, GENTLE))  # fmt: skip
    plain = PSAConfig(block_n=BLOCK, rearrange_method="Gilbert", warmup_steps=warm_up)
    blocks = -(-tokens // BLOCK)
    for density in DENSITIES:
        add(f"block-sparse {density:g}", lambda d=density: plain.replace(
            mask_ratios=solve(d, {1: 1}, "none", blocks), tail="none"))  # fmt: skip
    for peer in known:
        if reason := usable(peer):
            found.left_out.append((TABLE, peer.label, reason))
        else:
            add(peer.label, lambda: plain, peer.label)
    return found


def tried(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Callable[[Peer], str]:
    """`usable` of `settings`: by a call with these, in bf16 where it does not take their dtype."""

    def reason(peer: Peer) -> str:
        if q.shape[-1] not in peer.method.head_dims:
            return f"it does not take head dim {q.shape[-1]}"
        found = ""
        for dtype in dict.fromkeys((q.dtype, torch.bfloat16)):
            peer.dtype = dtype
            try:
                out = peer.attend(q, k, v)
                if peer.method.density is not None:
                    own = (x.to(dtype) for x in (q, k, v))
                    peer.density = peer.method.density(Problem(*own, peer.grid, 0))
            except Unavailable as error:
                return str(error)
            except Exception as error:  # somebody else's kernel can raise anything
                found = f"FAILED: {_short(error)}"
            else:
                return "" if torch.isfinite(out).all() else "its output holds NaN or infinity"
        return found

    return reason


def sampled(subject: Subject, clip: Clip, sampling: Sampling, peer: Peer, warm_up: int) -> Sampled:
    """The clip with the peer's attention after `warm_up` steps. Raises `RunFailed`."""
    peer.served = 0
    try:
        found = subject.dense(clip, sampling, replaced(subject.model, peer.attend, warm_up))
    except Exception as error:
        raise RunFailed(f"{peer.label}: {_short(error)}") from error
    wanted = subject.layers * (sampling.steps - warm_up)
    if peer.served < wanted:
        raise RunFailed(f"{peer.label} served {peer.served} calls of {wanted} and more")
    return found


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def call_times(
    problem: Problem, rows: list[Setting], known: Iterable[Peer], steps: int
) -> dict[str, dict]:
    """key -> {"sparse": ms of a call after the warm-up, "run": in the mean over the run's steps}.

    Where like keys are kept, calls that group them again count as often as a run has them. A method
    that fails has no times.
    """
    calls: dict[str, Callable] = {}
    for method in dense_methods():
        if method.kind == EXACT and method.name != "SDPA math":
            _add(calls, method.name, method, problem)
    exact = list(calls)
    of_peer = {peer.label: peer for peer in known}
    for row in rows:
        if row.peer:
            peer = of_peer[row.peer]
            own = problem.along_curve if peer.order == "curve" else problem
            _add(calls, row.peer, peer.method, own)
            continue
        for config, kept in _sparse_steps(row.config, steps):
            _add(calls, (config, kept), psa_method(row.label, config, "auto", kept), problem)
    timings = alternate(calls, Clock(problem.q.device), seconds_each=SECONDS_EACH)
    dense = min((timings[name].ms for name in exact), default=None)
    found = {}
    for row in rows:
        parts = _sparse_steps(row.config, steps)
        ran = {part: row.peer or part for part in parts}
        if dense is None or not parts or any(call not in timings for call in ran.values()):
            continue
        sparse = sum(timings[ran[part]].ms * count for part, count in parts.items())
        count = sum(parts.values())
        found[row.key] = {
            "sparse": sparse / count, "run": (sparse + dense * (steps - count)) / steps,
            "dense": dense,
        }  # fmt: skip
    return found


def _sparse_steps(config: PSAConfig, steps: int) -> Counter[tuple[PSAConfig, bool]]:
    """(settings, whether groups and plan are kept from before) -> how many sparse steps have them.

    The first two sparse steps make both, then every `refresh`th. A step with other settings than
    the one before makes only its plan, and counts as if it made both.
    """
    found, before = Counter(), None
    for number, settings in enumerate(sparse_steps(config, steps)):
        own = settings.replace(warmup_steps=0, description="")
        keeps = own.grouping == "similar" and own.refresh > 1
        anew = number == 0 or (number - 1) % own.refresh == 0 or own != before
        found[own, keeps and not anew] += 1
        before = own
    return found


def _add(calls: dict, key, method: Method, problem: Problem) -> None:
    if key in calls:
        return
    try:
        call = method.prepare(problem)
        call()
    except Exception:  # what cannot run is left out of the clips with its reason
        return
    calls[key] = call
