"""LightX2V's own registry and Ulysses wrapper with PSA; from a copy, LIGHTX2V_PATH names it.

Copy used last: ModelTC/LightX2V f8aee98 of 21 August 2026; beside torch it needs loguru and einops.
"""

import importlib
import logging
import os
import sys
import types
from pathlib import Path

import pytest
import torch

from psa_engines.lightx2v import register
from psa_kernels import PSAConfig, psa_attention
from psa_presets import NotFoundError

from ..pack_import import ROOT
from .ranks import run_ranks

COPY = os.environ.get("LIGHTX2V_PATH")
if not COPY or sys.platform != "linux":
    pytest.skip("LIGHTX2V_PATH names no copy of LightX2V", allow_module_level=True)
for needed in ("loguru", "einops"):
    pytest.importorskip(needed, reason=f"LightX2V needs {needed}")

GRID, HEADS, STEPS, LAYERS = (5, 9, 11), 4, 3, 2
TOKENS = 495
PRESET = "Wan2.1_14b/balanced"
SMALL = {"mask_ratios": {1: (0.0, 0.3), 4: (0.3, 0.6), 0: (0.6, 1.0)}, "block_m": 64,
         "block_n": 64, "warmup_steps": 1}  # fmt: skip


@pytest.fixture(scope="module")
def lightx2v(tmp_path_factory):
    """Its attention, with PSA found among installed packages; without its models, which a CPU
    cannot run."""
    installed = tmp_path_factory.mktemp("installed")
    info = installed / "pyramid_sparse_attention-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: pyramid-sparse-attention\nVersion: 0\n")
    _, _, part = (
        (ROOT / "pyproject.toml")
        .read_text()
        .partition('[project.entry-points."lightx2v.platform_plugins"]\n')
    )
    line = part.splitlines()[0].replace('"', "")
    (info / "entry_points.txt").write_text(f"[lightx2v.platform_plugins]\n{line}\n")
    before, path = set(sys.modules), list(sys.path)
    checked = os.environ.pop("SKIP_PLATFORM_CHECK", None)
    sys.path[:0] = [str(installed), COPY]
    os.environ["SKIP_PLATFORM_CHECK"] = "1"  # it knows no CPU, and asks for a GPU first of all
    for name in ("", ".common", ".common.ops", ".models", ".models.schedulers"):
        package = types.ModuleType(f"lightx2v{name}")
        package.__path__ = [str(Path(COPY, *package.__name__.split(".")))]
        sys.modules[package.__name__] = package
    try:
        importlib.import_module("lightx2v_platform.set_ai_device")  # as its own __init__ does
        importlib.import_module("lightx2v.common.ops.attn")
        yield types.SimpleNamespace(
            registry=importlib.import_module(
                "lightx2v.utils.registry_factory"
            ).ATTN_WEIGHT_REGISTER,
            scheduler=importlib.import_module("lightx2v.models.schedulers.scheduler").BaseScheduler,
        )
    finally:
        sys.path[:] = path
        os.environ.pop("SKIP_PLATFORM_CHECK")
        if checked is not None:
            os.environ["SKIP_PLATFORM_CHECK"] = checked
        for name in [n for n in sys.modules if n.startswith("lightx2v") and n not in before]:
            del sys.modules[name]


def config(preset=PRESET, steps=STEPS, **more):
    return {"infer_steps": steps, "self_attn_1_type": "psa", "psa_setting": {
        "preset": preset, **more
    }}  # fmt: skip


def scheduler_of(lightx2v, settings=None):
    scheduler = lightx2v.scheduler(settings or config(PSAConfig(**SMALL)))
    scheduler.latents = torch.zeros(1)
    return scheduler


def tensors(step, condition, layer, tokens):
    random = torch.Generator().manual_seed(1000 * step + 100 * condition + layer)
    shape = (tokens, HEADS, 32)
    return [torch.randn(shape, generator=random) for _ in range(3)]


def layers_of(lightx2v, scheduler):
    return [lightx2v.registry[scheduler.config["self_attn_1_type"]]() for _ in range(LAYERS)]


def outputs(lightx2v, scheduler, layers, attend, tokens=TOKENS):
    """What a model's layers give in every step, with and without the prompt."""
    found = []
    for step in range(scheduler.infer_steps):
        scheduler.step_pre(step)
        for condition in (True, False):
            scheduler.infer_condition = condition
            for number, layer in enumerate(layers):
                told = {"block_idx": number, "scheduler": scheduler, "grid_sizes": GRID,
                        "sol_morton_preordered": False}  # fmt: skip
                found.append(attend(layer, *tensors(step, condition, number, tokens), told))
    return found


def alone(layer, q, k, v, told):
    lengths = torch.tensor([0, q.shape[0]], dtype=torch.int32)
    return layer.apply(
        q=q, k=k, v=v, cu_seqlens_q=lengths, cu_seqlens_kv=lengths, max_seqlen_q=q.shape[0],
        max_seqlen_kv=q.shape[0], **told,
    )  # fmt: skip


def dense(lightx2v, q, k, v):
    return lightx2v.registry["torch_sdpa"]().apply(q, k, v)


def test_it_is_found_among_installed_packages_and_registered_once(lightx2v):
    assert issubclass(lightx2v.registry["psa"], sys.modules[
        "lightx2v_platform.ops.attn.template"
    ].AttnWeightTemplate)  # fmt: skip
    first = lightx2v.registry["psa"]
    register()
    assert lightx2v.registry["psa"] is first


def test_one_gpu_warm_up_sparse_and_report(lightx2v, caplog):
    caplog.set_level(logging.INFO, logger="PSA")
    scheduler = scheduler_of(lightx2v)
    found = outputs(lightx2v, scheduler, layers_of(lightx2v, scheduler), alone)
    assert "3 steps: 1 dense (warm-up), 2-3 sparse" in caplog.text
    from psa_engines.lightx2v.runs import runs_of

    runs = runs_of(scheduler)
    for i, out in enumerate(found):
        step, condition, layer = i // 4, i % 4 < 2, i % 2
        q, k, v = tensors(step, condition, layer, TOKENS)
        if step == 0:
            assert torch.equal(out, dense(lightx2v, q, k, v))
            continue
        right = psa_attention(
            *(x.transpose(0, 1)[None] for x in (q, k, v)), grid=GRID,
            config=PSAConfig(**SMALL),
        )  # fmt: skip
        assert torch.equal(out, right[0].transpose(0, 1).flatten(1))
    assert not runs._run._order_states, "kept past the last step"
    scheduler.step_pre(0)  # the next video
    layer = layers_of(lightx2v, scheduler)[0]
    alone(layer, *tensors(0, True, 0, TOKENS), {"scheduler": scheduler, "grid_sizes": GRID})
    assert "8 attention calls sparse" in caplog.text and "4 dense (4 warm-up)" in caplog.text


def test_two_gpus_with_its_ulysses(lightx2v, tmp_path, monkeypatch):
    """495 tokens and one of filling; whole and head by head."""

    kept = config(PSAConfig(**SMALL, grouping="similar", refresh=2))

    def rank(number, head_parallel):
        scheduler = scheduler_of(lightx2v, kept)
        ulysses = lightx2v.registry["ulysses"]()

        def attend(layer, q, k, v, told):
            mine = slice(248 * number, 248 * (number + 1))
            out, more = ulysses.apply_new(
                q=q[mine], k=k[mine], v=v[mine], attention_module=layer,
                head_parallel=head_parallel, attention_kwargs=told,
            )  # fmt: skip
            assert more is None
            return out

        return outputs(lightx2v, scheduler, layers_of(lightx2v, scheduler), attend, TOKENS + 1)

    def work(number):
        return [rank(number, head_parallel) for head_parallel in (False, True)]

    ranks = run_ranks(2, work, tmp_path / "ranks")
    scheduler = scheduler_of(lightx2v, kept)
    # a token of filling is what two processes leave
    monkeypatch.setattr("psa_engines.lightx2v.attention._ranks", lambda: 2)
    right = outputs(lightx2v, scheduler, layers_of(lightx2v, scheduler), alone, TOKENS + 1)
    for way in range(2):
        for i, whole in enumerate(right):
            out = torch.cat([ranks[number][way][i] for number in range(2)])
            torch.testing.assert_close(out, whole, rtol=1e-4, atol=1e-5)


def test_a_fault_or_nan_costs_nothing(lightx2v, monkeypatch, caplog):
    from psa_engines.core import deciding

    real = deciding.psa_attention
    for spoilt in (lambda *a, **k: 1 / 0, lambda *a, **k: tuple(
        x * float("nan") if isinstance(x, torch.Tensor) else x for x in real(*a, **k)
    )):  # fmt: skip
        monkeypatch.setattr(deciding, "psa_attention", spoilt)
        scheduler = scheduler_of(lightx2v)
        found = outputs(lightx2v, scheduler, layers_of(lightx2v, scheduler), alone)
        for i, out in enumerate(found):
            q, k, v = tensors(i // 4, i % 4 < 2, i % 2, TOKENS)
            assert torch.equal(out, dense(lightx2v, q, k, v))
    assert caplog.text.count("PSA met an error and steps aside") == 2


@pytest.mark.parametrize("told, reason", [
    ({"causal": True}, "masked attention"),
    ({"drop_rate": 0.5}, "dropout"),
    ({"cu_seqlens_q": [0, 50, TOKENS]}, "several sequences in one"),
    ({"sol_morton_preordered": True}, "unknown option sol_morton_preordered"),
    ({"grid_sizes": (5, 9, 10)}, "unknown token layout"),
])  # fmt: skip
def test_what_it_cannot_serve_stays_dense(lightx2v, told, reason):
    from psa_engines.lightx2v.runs import runs_of

    scheduler = scheduler_of(lightx2v)
    scheduler.step_pre(1)
    layer = layers_of(lightx2v, scheduler)[0]
    q, k, v = tensors(1, True, 0, TOKENS)
    plain = {"scheduler": scheduler, "grid_sizes": GRID, "block_idx": 0}
    layer.apply(q=q, k=k, v=v, **plain | told)
    assert runs_of(scheduler).report()["calls"] == {"sparse": 0, "dense": {reason: 1}}


def test_without_a_scheduler_it_is_dense(lightx2v):
    q, k, v = tensors(1, True, 0, TOKENS)
    out = lightx2v.registry["psa"]().apply(q, k, v, grid_sizes=GRID)
    assert torch.equal(out, dense(lightx2v, q, k, v))


@pytest.mark.parametrize("setting, error, wanted", [
    (None, ValueError, "Fix: \"psa_setting\""),
    ({}, ValueError, "Fix: \"psa_setting\""),
    ({"preset": PRESET, "dense_layers": [0]}, ValueError, "found 'dense_layers'. Fix: use only"),
    ({"preset": "Wan2.1_14b/none"}, NotFoundError, "none"),
    ({"preset": PRESET, "dense_type": "flash"}, ValueError, "found 'flash'. Fix: use one of"),
])  # fmt: skip
def test_settings_that_are_not_understood_are_told_in_the_first_call(
    lightx2v, setting, error, wanted
):
    scheduler = scheduler_of(lightx2v, {**config(), "psa_setting": setting})
    q, k, v = tensors(0, True, 0, TOKENS)
    with pytest.raises(error, match=wanted):
        lightx2v.registry["psa"]().apply(q, k, v, scheduler=scheduler, grid_sizes=GRID)
