"""What a run does, part by part. Every part writes lines to the results as it goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from . import decide, peers
from .metrics import compare_frames, relative
from .results import Results
from .settings import (
    CALIBRATED,
    DECIDE,
    ORDERS,
    PEERS,
    SWEEP,
    Base,
    Setting,
    Settings,
    orders,
    presets,
    sweep,
)
from .structure import Structure
from .subject import Clip, RunFailed, Sampled, Sampling, Subject, overall_density, step_density
from .watch import Seen, watched

STRUCTURE = "structure"  # needs no sparse run


@dataclass
class Job:
    """One run.

    families   whose presets are measured (`presets.family.Family`)
    densities  of the sweep
    deadline   `time.monotonic()` after which nothing new starts
    time_grid  of the calls that are timed beside peers; None for the clips' own
    only       settings whose key contains one of these texts; all where there is none
    """

    subject: Subject
    sampling: Sampling
    results: Results
    clips: list[Clip]
    families: list
    densities: tuple[float, ...]
    deadline: float
    say: Callable[[str], None]
    only: tuple[str, ...] = ()
    time_grid: tuple[int, int, int] | None = None

    @property
    def late(self) -> bool:
        return time.monotonic() > self.deadline

    @property
    def tokens(self) -> int:
        frames, height, width = self.sampling.grid
        return frames * height * width

    @property
    def warm_up(self) -> int:
        return Base(self.tokens, self.sampling.steps, 1.0).warm_up

    @cached_property
    def peers(self) -> dict[str, peers.Peer]:
        return {peer.label: peer for peer in peers.peers(self.sampling.grid)}

    def wants(self, key: str) -> bool:
        """Whether the setting of this key is to be measured."""
        return not self.only or any(text in key for text in self.only)

    def watch(self, clip: Clip, visit: Callable[[Seen], None]) -> None:
        """A dense run of the clip with its attention calls shown to `visit`."""
        self.subject.dense(clip, self.sampling, watched(self.subject.model, visit))


def run(job: Job, names: list[str]) -> None:
    """The named parts, one after the other."""
    for name in names:
        if not job.late:
            PARTS[name](job)
        if job.late:
            job.say(f"the time limit is reached in {name}; the same command goes on from here")
            return


def settings_of(job: Job, part: str) -> list[Setting]:
    """The settings of a part that are asked for; added to the results for the tables."""
    found = SETTINGS[part](job)
    found.rows = [row for row in found.rows if job.wants(row.key)]
    rows = [row.to_data() for row in found.rows]
    job.results.add("settings", rows=rows, left_out=found.left_out)
    return found.rows


def _sweep(job: Job) -> Settings:
    found = sweep(job.tokens, job.sampling.steps, job.densities)
    found += presets(job.families)
    return found


def _calibrated(job: Job) -> Settings:
    from .calibrated import rows  # with ComfyUI's modules, loaded by then

    return rows(job)


# part -> what makes its settings
SETTINGS: dict[str, Callable[[Job], Settings]] = {
    SWEEP: _sweep,
    ORDERS: lambda job: orders(job.tokens, job.sampling.steps),
    CALIBRATED: _calibrated,
    DECIDE: lambda job: decide.settings(job.families, job.tokens, job.sampling.steps),
    PEERS: peers.rows,
}


def sample_peers(job: Job) -> None:
    """Times of the calls, then the clips."""
    rows = settings_of(job, PEERS)
    peers.measure_times(job, rows)
    sample_clips(job, PEERS, rows)


def sample_clips(job: Job, part: str, rows: list[Setting] | None = None) -> None:
    """Every setting of the part on every clip, against the dense clip of the same noise."""
    rows = settings_of(job, part) if rows is None else rows
    for clip in job.clips:
        todo = [r for r in rows if not job.results.has("clip", clip=clip.index, key=r.key)]
        job.say(f"{part}: clip {clip.index}, {len(todo)} settings: {clip.prompt}")
        dense: dict[int, tuple] = {}
        known: dict[tuple, dict] = {}
        for row in todo:
            if job.late:
                return
            steps = row.steps or job.sampling.steps
            sampling = Sampling(job.sampling.grid, steps, job.sampling.cfg)
            if steps not in dense:
                found = job.subject.dense(clip, sampling)
                dense[steps] = found, job.subject.frames(found.latent)
            same = row.config.replace(description=""), steps, row.peer
            if same not in known:
                known[same] = _compare(job, clip, sampling, row, *dense[steps])
            job.results.add("clip", clip=clip.index, key=row.key, **known[same])


def _compare(
    job: Job, clip: Clip, sampling: Sampling, row: Setting, dense: Sampled, frames: torch.Tensor
) -> dict:
    try:
        if row.peer:
            peer, warm_up = job.peers[row.peer], row.config.warmup_steps
            found = peers.sampled(job.subject, clip, sampling, peer, warm_up)
            density = peer.density
            overall = density and (warm_up + (sampling.steps - warm_up) * density) / sampling.steps
        else:
            found = job.subject.sparse(clip, sampling, row.config)
            density, overall = step_density(found.report), overall_density(found.report)
    except RunFailed as reason:
        job.say(f"  {row.key}: left out: {reason}")
        return {"left_out": str(reason)}
    return {
        **compare_frames(frames, job.subject.frames(found.latent)),
        "latent": relative(found.latent, dense.latent),
        "density": density,
        "overall_density": overall,
        "seconds": found.seconds,
        "dense_seconds": dense.seconds,
    }


def sample_structure(job: Job) -> None:
    """The figures that are published of real models, for some steps of dense runs."""
    for clip in job.clips:
        if job.late:
            return
        if job.results.has(STRUCTURE, clip=clip.index):
            continue
        structure = Structure(job.sampling.grid, job.sampling.steps, job.subject.device)
        job.say(f"structure: clip {clip.index}, steps {structure.steps} from 0")
        with torch.inference_mode():
            job.watch(clip, structure.visit)
        job.results.add(STRUCTURE, clip=clip.index, calls=structure.calls)


PARTS: dict[str, Callable[[Job], None]] = {
    SWEEP: lambda job: sample_clips(job, SWEEP),
    ORDERS: lambda job: sample_clips(job, ORDERS),
    CALIBRATED: lambda job: sample_clips(job, CALIBRATED),
    DECIDE: lambda job: sample_clips(job, DECIDE),
    PEERS: sample_peers,
    STRUCTURE: sample_structure,
}
