"""Runs made up by hand, with figures that can be worked out on paper."""

from collections import Counter

import numpy as np


def made_run(
    *, steps=20, warmup=5, blocks=40, heads=40, psa_ms=28.0, dense_ms=168.0, density=None,
    own_dense=True, compile_seconds=0.0,
):  # fmt: skip
    """A `LoggedRun` of a Wan-like model on a GPU.

    A step takes 8 s and its self-attention; the first sparse call compiled, if any did.
    density  (step, block, head) -> share on level 1, the rest on level 0; 10% if absent
    """
    from psa_engines.core.recording.records import (
        DENSE_CALL,
        OTHER_CALL,
        PSA_CALL,
        CallShape,
        Cell,
        RunRecord,
        ShapeTimes,
        Tally,
    )
    from psa_engines.core.schedule import Step
    from psa_engines.core.summary import figures
    from psa_kernels import PSAConfig
    from psa_pack.nodes.preset_value import PresetValue
    from psa_pack.nodes.recording.run_log import LoggedRun

    shape = CallShape(1, heads, 75_600, 128, "bfloat16", "cuda:0")
    times, cells, seconds = ShapeTimes(), [], []
    for step in range(steps):
        dense = step < warmup
        other = Cell(step, None, dense=Counter({"cross-attention": blocks}))
        other.ms[OTHER_CALL] = 0.5 * blocks
        cells.append(other)
        compiling = compile_seconds if step == warmup else 0.0
        for block in range(blocks):
            cell = Cell(step, block)
            cells.append(cell)
            if dense:
                cell.dense["warm-up"] = 1
                cell.ms[DENSE_CALL] = dense_ms
                if own_dense:
                    times.dense.append(dense_ms)
                continue
            cell.sparse, cell.ms[PSA_CALL] = 1, psa_ms
            if not (compiling and block == 0):
                times.psa.append(psa_ms)
            share = np.array([density(step, block, head) if density else 0.1
                              for head in range(heads)])  # fmt: skip
            pairs = np.zeros((heads, 5))
            pairs[:, 0], pairs[:, 4] = 1000 * share, 1000 * (1 - share)
            mass = np.zeros((heads, 5))
            mass[:, 0], mass[:, 4] = np.sqrt(share), 1 - np.sqrt(share)
            cell.tally = Tally(pairs, 1000 * share, 1000.0, mass, 1)
        attention = blocks * (dense_ms if dense else psa_ms) / 1000
        seconds.append(8.0 + attention + compiling)
    calls = int(compile_seconds > 0)
    record = RunRecord(
        cells, {shape: times}, seconds, "GPU events", compile_seconds, calls,
        frozenset({warmup} if calls else ()), ("triton",), (), None,
    )  # fmt: skip
    plan = ["dense" if i < warmup else "sparse" for i in range(steps)]
    report = {
        "preset": "Wan2.1_14b/fast", "plan": plan,
        "plan_text": f"{steps} steps: 1-{warmup} dense (warm-up), {warmup + 1}-{steps} sparse",
        "failure": None, "repeated": 0, "ended": None, "seconds": sum(seconds),
        **figures(record, [Step(1 - i / steps, None, i / steps) for i in range(steps)]),
    }  # fmt: skip
    preset = PresetValue(PSAConfig(tail="none"), family="Wan2.1_14b", name="fast")
    return LoggedRun(report, record, preset, ((21, 45, 80), 0))
