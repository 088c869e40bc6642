"""Density and level shares of a run over blocks and steps, and over heads and blocks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ...psa_engines.core.recording.records import RunRecord, Tally, sum_of
from ...psa_kernels.config import LEVELS


@dataclass(frozen=True)
class Maps:
    """NaN where nothing was sparse.

    blocks        block numbers, in the order of the rows and columns below
    by_step       `[blocks, steps]`: density
    step_levels   `[5, blocks, steps]`: share of the block pairs on levels 1, 2, 4, 8, 0
    by_head       `[heads, blocks]`: density
    head_levels   `[5, heads, blocks]`
    """

    blocks: tuple[int, ...]
    by_step: np.ndarray
    step_levels: np.ndarray
    by_head: np.ndarray
    head_levels: np.ndarray


def maps(record: RunRecord) -> Maps:
    cells = [cell for cell in record.cells if cell.block is not None and cell.step is not None]
    blocks = tuple(sorted({cell.block for cell in cells}))
    steps, kinds = len(record.steps), len(LEVELS)
    heads_seen = Counter(cell.tally.pairs.shape[0] for cell in cells if cell.tally)
    # another part of the model may have another number of heads; the most common one is shown
    heads = heads_seen.most_common(1)[0][0] if heads_seen else 0
    by_step = np.full((len(blocks), steps), np.nan)
    step_levels = np.full((kinds, len(blocks), steps), np.nan)
    by_head = np.full((heads, len(blocks)), np.nan)
    head_levels = np.full((kinds, heads, len(blocks)), np.nan)
    for row, block in enumerate(blocks):
        tallies = []
        for cell in cells:
            if cell.block != block or cell.tally is None:
                continue
            by_step[row, cell.step] = cell.tally.density.mean()
            step_levels[:, row, cell.step] = _shares(cell.tally).mean(1)
            if cell.tally.pairs.shape[0] == heads:
                tallies.append(cell.tally)
        total = sum_of(tallies)
        if total is not None:
            by_head[:, row] = total.density
            head_levels[:, :, row] = _shares(total)
    return Maps(blocks, by_step, step_levels, by_head, head_levels)


def _shares(tally: Tally) -> np.ndarray:
    """`[5, heads]`"""
    return (tally.pairs / np.maximum(1, tally.pairs.sum(1, keepdims=True))).T
