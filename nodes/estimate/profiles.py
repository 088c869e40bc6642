"""How attention mass is spread over key blocks in made-up videos: for densities that depend on it.

profiles.npz beside this file, made by `python -m benchmarks.density_profiles`: for each profile,
token order and block sizes, the share of a row's key blocks before which less than a given mass
lies. A level takes the blocks between two masses, so every density in mode thresholdbound follows.
For the similarity mask it also has single key blocks: where they rank, how alike their keys are.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from ...psa_kernels.config import LEVELS, PSAConfig

MAIN = "medium"
TILE = (2, 8, 8)  # of the STA order


@functools.cache
def table() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "profiles.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@functools.cache
def about() -> dict[str, Any]:
    """Where the figures are from: "profiles", "shape", "made" and so on."""
    return json.loads(str(table()["about"]))


def names() -> list[str]:
    return about()["profiles"]


def note() -> str:
    return f"depends on the video; for a profile of {about()['inputs']}, not a trained model's"


def level_shares(config: PSAConfig, profile: str) -> dict[int, float]:
    """Level -> share of a row's key blocks, averaged over rows and heads of the profile."""
    order = config.order or "raster"
    if config.use_sim_mask:
        return _with_similarity(config, f"{profile}/{order}")
    curve = table()[f"{profile}/{order}/{config.block_m}/{config.block_n}"]
    marks = np.linspace(0, 1, len(curve))
    shares, begin = dict.fromkeys(LEVELS, 0.0), 0.0
    for level, upper in _taking(config):
        end = 1.0 if upper >= 1 else float(np.interp(upper, marks, curve))
        shares[level], begin = end - begin, end
    return shares


def _taking(config: PSAConfig) -> list[tuple[int, float]]:
    """(level, upper bound) of the levels that take blocks; the last takes what is left."""
    taking = [(level, upper) for level, upper in config.mask_ratios.uppers()
              if config.mask_ratios.width(level) > 0]
    return [*taking[:-1], (taking[-1][0], 1.0)]


def _with_similarity(config: PSAConfig, key: str) -> dict[int, float]:
    """A key block's rows are spread over mass (or rank); its keys say how far it may be pooled."""
    axis = "rank" if config.mask_mode == "topk" else "mass"
    rows = table()[f"{key}/{axis}"].astype(np.float64)  # [key blocks, bins], rows sum to 1
    alike = table()[f"{key}/alike"].astype(np.float64)  # [key blocks, 3]: c_2, c_4, c_8
    below = np.concatenate((np.zeros((len(rows), 1)), rows.cumsum(1)), 1)
    marks = np.linspace(0, 1, below.shape[1])
    allowed = np.ones(len(rows), int)
    for column, level in enumerate((2, 4, 8)):
        allowed[alike[:, column] > config.sim_thresholds[level]] = level
    shares, begin = dict.fromkeys(LEVELS, 0.0), np.zeros(len(rows))
    for level, upper in _taking(config):
        end = np.array([np.interp(upper, marks, row) for row in below])
        for most in (1, 2, 4, 8):
            part = float(((end - begin) * (allowed == most)).sum() / len(rows))
            shares[min(level, most) if level else 0] += part
        begin = end
    return shares
