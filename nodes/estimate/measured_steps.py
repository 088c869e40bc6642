"""The whole steps that were measured ("steps" in measured.json)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...psa_kernels.config import PSAConfig
from .density import Tokens, density
from .models import MODELS, Model
from .speed import dense_call, same_work, speedup, table


def nearest_step(model: Model, tokens: Tokens, gpu: str | None) -> Mapping[str, Any] | None:
    """The measured step of this model on this GPU that is nearest in length; of several there the
    one with the fastest dense attention.
    """
    known = [step for step in table()["steps"] if step["gpu"] == gpu and _same(step, model)]
    return min(
        known,
        key=lambda step: (abs(tokens_of(step).total - tokens.total), step["dense_s"]),
        default=None,
    )


def _same(step: Mapping[str, Any], model: Model) -> bool:
    return MODELS[step["model"]].sizes == model.sizes


def tokens_of(step: Mapping[str, Any]) -> Tokens:
    return Tokens(tuple(step["grid"]), step["text"])


def parts_of(step: Mapping[str, Any]) -> tuple[float, float]:
    """(dense attention, rest) in seconds of one evaluation of a measured step."""
    attention, whole = step["dense_attention_s"], step["dense_s"]
    return attention / step["evaluations"], (whole - attention) / step["evaluations"]


def row_of(step: Mapping[str, Any], config: PSAConfig) -> Mapping[str, Any] | None:
    """The measured sparse step of this preset."""
    for row in step["psa"]:
        if same_work(PSAConfig.from_preset(row["preset"]), config):
            return row
    return None


def within_a_step(step: Mapping[str, Any], model: Model) -> float:
    """The time of PSA's calls in a measured step over that of single calls (speed.py)."""
    tokens, count = tokens_of(step), step["evaluations"]
    fastest = dense_call(tokens, model) * model.blocks
    found = []
    for row in step["psa"]:
        config = PSAConfig.from_preset(row["preset"])
        call = speedup(config, tokens, density(config, tokens), model)
        found.append(row["attention_s"] / count * call.value / fastest)
    return sum(found) / len(found)
