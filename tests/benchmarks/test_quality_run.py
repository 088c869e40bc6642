"""The quality bench on a CPU: small clips of the model with random weights, everything real."""

import dataclasses
import itertools
import json
import math
import os
import statistics
import subprocess
import sys

import pytest
import torch

from psa_kernels import PSAConfig, psa_attention
from psa_pack.benchmarks import __main__ as bench
from psa_pack.benchmarks import inputs
from psa_pack.benchmarks.checks import Truth
from psa_pack.benchmarks.dense_peers import dense_methods
from psa_pack.benchmarks.method import Method, Problem
from psa_pack.benchmarks.quality import __main__ as quality
from psa_pack.benchmarks.quality import peers, sanity
from psa_pack.benchmarks.quality.capture import Capture, NothingCaptured
from psa_pack.benchmarks.quality.parts import Job, run
from psa_pack.benchmarks.quality.report import write_report
from psa_pack.benchmarks.quality.results import Results, read
from psa_pack.benchmarks.quality.structure import Structure
from psa_pack.benchmarks.quality.subject import Clip, RunFailed, Sampling, Subject
from psa_pack.benchmarks.quality.watch import watched
from psa_pack.presets.store import PresetStore
from psa_pack.tools.random_wan import write_tiny_wan

from ..pack_import import ROOT

CODEC = ROOT / "examples" / "small_wan" / "codec.safetensors"
GRID = (4, 16, 16)  # 8 blocks of 128 tokens
SAMPLING = Sampling(GRID, steps=3, cfg=4.0)
LAYERS = 2


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    return write_tiny_wan(tmp_path_factory.mktemp("quality") / "model.safetensors")


@pytest.fixture(scope="module")
def subject(comfy_inproc, model_file):
    return Subject(comfy_inproc, model_file, CODEC)


@pytest.fixture(scope="module")
def seen(subject):
    """Every self-attention call of one dense run; the tensors are copies."""
    found = []
    clip = Clip.number(0)
    latent = subject.dense(clip, SAMPLING, watched(subject.model, found.append)).latent
    assert torch.equal(latent, subject.dense(clip, SAMPLING).latent)
    return found


@pytest.fixture(scope="module")
def options(model_file, comfyui_path):
    """Options of the command that every run has."""
    return [
        "--comfyui", comfyui_path, "--model", model_file, "--codec", CODEC,
        "--grid", *GRID, "--steps", 3,
    ]  # fmt: skip


@pytest.fixture
def run_quality(subject, options):
    """What the command does, without a process of its own: run_quality(arguments) -> exit code."""
    return lambda *arguments: quality.main([str(x) for x in (*options, *arguments)])


SWEEP = (
    "--part", "sweep", "--clips", "0:2", "--cfg", 1, "--densities", "0.25", "--families",
    "Small_Wan", "Wan2.1_1.3b", "--only", "density 0.25", "fast", "lora_4step", "psa_topk",
)  # fmt: skip


@pytest.fixture(scope="module")
def swept(options, tmp_path_factory):
    """The folder of a sweep of two clips, by the command."""
    folder = tmp_path_factory.mktemp("swept")
    line = [sys.executable, "-m", "benchmarks.quality", *options, *SWEEP, "--out", folder]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, line)), cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_setting_is_measured_on_the_same_clips(swept):
    lines = read(swept / "results.jsonl")
    checks = [line for line in lines if line["kind"] == "check"]
    assert len(checks) == 5 and all(check["ok"] for check in checks)
    by_key = {}
    for line in lines:
        if line["kind"] == "clip" and "left_out" not in line:
            by_key.setdefault(line["key"], {})[line["clip"]] = line
    report = json.loads((swept / "report.json").read_text(encoding="utf-8"))
    rows = {row["setting"]["label"]: row for row in report["tables"]["density 0.25"]}
    assert list(rows) == [
        "block-sparse", "levels, rest dropped", "levels and tail", "levels, tail, second moment",
    ]  # fmt: skip
    base = by_key["density 0.25: block-sparse"]
    for row in rows.values():
        own = by_key[row["setting"]["key"]]
        assert set(own) == {0, 1} and row["metrics"]["psnr"]["count"] == 2
        assert row["density"] <= 0.25 and row["density"] > 0.25 - 1 / 8
        assert row["overall_density"] > 0 and 0 < row["metrics"]["ssim"]["mean"] < 1
        if row["setting"]["against"]:
            differences = [own[i]["psnr"] - base[i]["psnr"] for i in (0, 1)]
            found = row["differences"]["psnr"]
            assert found["mean"] == pytest.approx(statistics.fmean(differences))
            assert found["half"] == pytest.approx(12.7062 * statistics.stdev(differences) / 2**0.5)
    # pooled keys keep more of the softmax than blocks that are dropped, on these clips too
    assert rows["levels and tail"]["differences"]["psnr"]["mean"] > 0
    presets = {row["setting"]["label"]: row for row in report["tables"]["presets"]}
    assert presets["lora_4step, 4 sampler steps"]["metrics"]["psnr"]["count"] == 2
    assert presets["fast"]["metrics"]["psnr"]["count"] == 2
    # its first 15 steps are dense
    assert "no call was sparse" in presets["psa_topk"]["left_out"]


def test_report_shows_the_tables_and_the_run(swept):
    text = (swept / "report.md").read_text(encoding="utf-8")
    assert "| levels and tail | 0.2" in text and "Clips 0 to 1" in text and "SHA-256" in text
    picture = (swept / "psnr-density.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000


def test_a_second_run_goes_on_where_the_first_stopped(swept, run_quality, tmp_path, capsys):
    lines = (swept / "results.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    # as if it had been killed while it wrote its last line
    (tmp_path / "results.jsonl").write_text("".join(lines[:-1]) + lines[-1][:30])
    assert run_quality(*SWEEP, "--out", tmp_path) == 0
    said = capsys.readouterr().out
    assert "clip 0, 0 settings" in said and "clip 1, 1 settings" in said
    counts = [
        sum(line["kind"] == "clip" for line in read(folder / "results.jsonl"))
        for folder in (swept, tmp_path)
    ]
    assert counts[0] == counts[1]


def test_another_grid_does_not_go_into_the_same_folder(swept, run_quality, capsys):
    assert run_quality("--part", "--grid", 4, 8, 8, "--out", swept) == 2
    assert "sampling differs" in capsys.readouterr().err


def checked(subject, folder, **options):
    """(lines, the reason why there are no figures or None)"""
    results = Results(folder, {"subject": "x", "sampling": {}, "gpu": None, "versions": {}})
    try:
        sanity.check_subject(subject, Clip.number(0), SAMPLING, results, **options)
    except sanity.CheckFailed as reason:
        return results.lines, str(reason)
    return results.lines, None


def test_no_figures_where_psa_is_not_dense(subject, tmp_path):
    # one block of eight is left out
    tampered = sanity.EVERYTHING.replace(mask_ratios={1: (0, 0.9), 0: (0.9, 1)})
    lines, reason = checked(subject, tmp_path, everything=tampered)
    assert "every block kept" in reason
    with pytest.raises(sanity.CheckFailed, match="every block kept"):
        write_report(lines, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_no_figures_where_the_patch_alone_is_not_dense(subject, tmp_path, monkeypatch):
    sparse = Subject.sparse

    def tampered(self, clip, sampling, config):
        return sparse(self, clip, sampling, config.replace(mask_ratios={1: (0, 0.9), 0: (0.9, 1)}))

    monkeypatch.setattr(Subject, "sparse", tampered)
    _, reason = checked(subject, tmp_path)
    assert reason.startswith("clip with every block kept")


def test_no_figures_where_dense_does_not_repeat(subject, tmp_path, monkeypatch):
    dense, runs = Subject.dense, itertools.count()

    def drifting(self, clip, sampling, model=None):
        found = dense(self, clip, sampling, model)
        return dataclasses.replace(found, latent=found.latent + 1e-5 * next(runs))

    monkeypatch.setattr(Subject, "dense", drifting)
    _, reason = checked(subject, tmp_path)
    assert reason.startswith("dense sampling again")


def test_clips_differ_and_repeat(subject):
    assert Clip.number(3) == Clip.number(3)
    assert Clip.number(3).prompt != Clip.number(4).prompt
    frames = subject.frames(subject.dense(Clip.number(0), SAMPLING).latent)
    assert frames.shape == (7, 3, 128, 128)
    assert frames.min() >= 0 and frames.max() <= 1 and frames.std() > 0.01


def test_watching_shows_every_call_in_order(seen):
    assert [(x.step, x.layer) for x in seen] == [
        (step, layer) for step in range(SAMPLING.steps) for layer in range(LAYERS)
    ]
    for x in seen:
        assert x.q.shape == x.k.shape == x.v.shape == (1, 2, 1024, 128)


def test_calibrated_budgets_against_the_presets(run_quality, tmp_path):
    """Five steps, of which each range of the presets has one or two."""
    line = ("--part", "calibrated", "--clips", "0:1", "--steps", 5, "--cfg", 1, "--grid", 4, 8, 16,
            "--families", "Small_Wan", "--only", "density of balanced",
            "--out", tmp_path)  # fmt: skip
    assert run_quality(*line) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["left_out"] == []
    (rows,) = report["tables"].values()
    labels = [row["setting"]["label"] for row in rows]
    assert labels == ["the preset", "calibrated", "probes taken whole"]
    # never denser than what it is compared with, and that is what ran
    fits = {fit["label"]: fit for fit in report["fits"]}
    for row in rows[1:]:
        assert row["density"] <= rows[0]["density"] + 1e-9
        fitted = fits[row["setting"]["label"]]
        assert row["density"] == pytest.approx(fitted["density"], abs=1e-9)
        assert row["setting"]["against"] == rows[0]["setting"]["key"]
    assert "## Calibrated budgets" in (tmp_path / "report.md").read_text(encoding="utf-8")
    before = (tmp_path / "results.jsonl").read_text(encoding="utf-8").count('"kind": "clip"')
    assert run_quality(*line) == 0
    text = (tmp_path / "results.jsonl").read_text(encoding="utf-8")
    # the preset, and two ways to fit it, on one clip
    assert text.count('"kind": "clip"') == before == 1 + 2


def test_a_capture_feeds_the_kernel_bench(seen, tmp_path, monkeypatch):
    each = 3 * 2 * 1024 * 128
    capture = Capture(GRID, {1, 2}, {0, 1}, most=5 * each)
    for x in seen:
        capture.visit(x)
    file = tmp_path / "captured.safetensors"
    capture.save(file, {"clip": 0})
    assert capture.heads == [(1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (2, 0, 0)]
    assert capture.left_out == 3 and file.stat().st_size < 5 * each + 2000
    q, k, v = inputs.Captured.of(file).load("cpu")
    fifth = seen[4]
    for loaded, original in zip((q, k, v), (fifth.q, fifth.k, fifth.v), strict=True):
        assert loaded.shape == (1, 5, 1024, 128)
        assert torch.equal(loaded[0, 4], original[0, 0].bfloat16())

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = ("--quick", "--only", "tail 64, 2nd", "--out", str(tmp_path))
    assert bench.main(["--inputs", f"captured:{file}", *options]) == 0
    rows = json.loads((tmp_path / "shapes.json").read_text(encoding="utf-8"))["rows"]
    (ours,) = [row for row in rows if row["kind"] == "psa"]
    assert (ours["shape"], ours["profile"]) == ("captured", "captured") and ours["ms"] > 0
    problem = Problem(q, k, v, GRID, 0)
    out = psa_attention(
        q, k, v, grid=GRID,
        config=PSAConfig(block_n=128, rearrange_method="Gilbert", tail=64, second_moment=True,
                         mask_ratios={1: (0, 0.05), 0: (0.05, 1)}),
    )  # fmt: skip
    assert ours["error"] == pytest.approx(Truth.of(problem).errors(out, problem)[0], rel=1e-4)


def test_a_capture_of_nothing_says_so(seen, tmp_path):
    capture = Capture(GRID, {1}, {7}, most=2**20)
    for x in seen:
        capture.visit(x)
    with pytest.raises(NothingCaptured, match="no such step or layer"):
        capture.save(tmp_path / "captured.safetensors", {})


def test_nothing_starts_after_the_deadline(subject, tmp_path):
    said = []
    results = Results(tmp_path, {})
    clips = [Clip.number(0)]
    job = Job(subject, SAMPLING, results, clips, [], (0.25,), 0.0, said.append)
    run(job, ["sweep", "structure"])
    assert said == ["the time limit is reached in sweep; the same command goes on from here"]
    assert [line["kind"] for line in results.lines] == ["run"]


def test_only_what_is_asked_for_is_measured(subject, tmp_path):
    """Of the candidates for 4 steps, the preset, and the same with one thing changed."""
    store = PresetStore(ROOT / "presets", tmp_path / "none")
    results = Results(tmp_path, {})
    job = Job(
        subject, Sampling(GRID, 4, 1.0), results, [Clip.number(0)],
        [store.get_family("Wan2.1_1.3b")], (), float("inf"), lambda text: None,
        only=("as shipped",),
    )  # fmt: skip
    run(job, ["decide"])
    (rows,) = [line["rows"] for line in results.lines if line["kind"] == "settings"]
    labels = ["as shipped", "as shipped, token order", "as shipped, int8 products"]
    assert [row["label"] for row in rows] == labels
    clips = [line for line in results.lines if line["kind"] == "clip"]
    assert [line["key"] for line in clips] == [row["key"] for row in rows]
    assert len({line["psnr"] for line in clips}) == 3
    for line in clips:  # one of four steps is dense
        assert line["overall_density"] == pytest.approx((1 + 3 * line["density"]) / 4)
        assert 0 < line["sharpness"] < math.inf


def test_a_peer_serves_the_same_clip(subject, tmp_path, monkeypatch):
    """One that computes dense attention gives the dense clip, in either order of the tokens, and
    has a time; one that is not available says why."""
    monkeypatch.setattr(peers, "SECONDS_EACH", 0.05)
    results, steps = Results(tmp_path, {}), 3
    store = PresetStore(ROOT / "presets", tmp_path / "none")
    flash = next(method for method in dense_methods() if method.name == "SDPA flash")
    flash = dataclasses.replace(flash, name="another", density=lambda problem: 1.0)
    known = [peers.Peer(flash, order, GRID) for order in ("caller", "curve")]
    kitchen = next(peer for peer in peers.peers(GRID) if "sol_attn" in peer.label)
    job = Job(
        subject, Sampling(GRID, steps, 4.0), results, [Clip.number(0)],
        [store.get_family("Wan2.1_1.3b")], (), float("inf"), lambda text: None,
        only=("another", "block-sparse 0.3"),
    )  # fmt: skip
    job.peers = {peer.label: peer for peer in (*known, kitchen)}
    run(job, ["peers"])
    (settings,) = [line for line in results.lines if line["kind"] == "settings"]
    assert [row["peer"] for row in settings["rows"]] == [
        "", "another", "another, along the curve"
    ]  # fmt: skip
    assert [peers.TABLE, kitchen.label, "needs a GPU"] in settings["left_out"]
    rival, *clips = [line for line in results.lines if line["kind"] == "clip"]
    for line, peer in zip(clips, known, strict=True):
        # two rows of the batch, or one after the other; the first step, 20% of three, is dense
        assert peer.served in (LAYERS * 2, LAYERS * 4)
        assert line["psnr"] > 60 > rival["psnr"] and line["latent"] < 1e-3
        assert (line["density"], line["overall_density"]) == (1, 1)
    times = [line for line in results.lines if line["kind"] == "time"]
    assert [line["key"] for line in times] == [row["key"] for row in settings["rows"]]
    for line in times:
        assert line["run"] == pytest.approx((2 * line["sparse"] + line["dense"]) / 3)
        assert 0 < line["dense"] <= line["sparse"] * 100 and line["grid"] == list(GRID)


def test_a_peer_that_fails_is_left_out(subject):
    def broken(problem):
        raise RuntimeError("no kernel image")

    method = Method("broken", "sparse", broken, 1.0)
    peer = peers.Peer(method, "caller", GRID)
    q = torch.zeros(1, 1, 1024, 128)
    assert peers.tried(q, q, q)(peer) == "FAILED: RuntimeError: no kernel image"
    with pytest.raises(RunFailed, match="no kernel image"):
        peers.sampled(subject, Clip.number(0), SAMPLING, peer, 1)


@pytest.mark.parametrize("text", ["synthetic:x", "captured:", "captured:missing.safetensors"])
def test_wrong_inputs_are_one_message(text, capsys):
    with pytest.raises(SystemExit):
        bench.parse(["--inputs", text])
    assert "--inputs" in capsys.readouterr().err


def test_structure_beside_published_figures(run_quality, tmp_path):
    """Only dense runs: every layer of the steps looked at, by head."""
    assert run_quality("--part", "structure", "--clips", "0:1", "--out", tmp_path) == 0
    data = json.loads((tmp_path / "structure.json").read_text(encoding="utf-8"))
    assert data["run"]["sampling"]["grid"] == list(GRID)
    # three steps: the last one is the plan's, and nothing comes after it
    wanted = [(step, layer) for step in (0, 2) for layer in range(LAYERS)]
    assert [(call["step"], call["layer"]) for call in data["calls"]] == wanted
    for call in data["calls"]:
        assert all(len(values) == 2 for values in call["figures"].values())
        assert ("plan_share" in call["figures"]) == (call["step"] == 2)
        assert all(0 <= x <= 1 for x in call["figures"]["outside_top"])
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| mass outside the top 8.1% of the keys | 0.33 | " in text and "| layer 1 | " in text
    (check,) = [x for x in read(tmp_path / "results.jsonl") if x["kind"] == "check"]
    assert check["ok"] and check["found"] == 0


def test_a_plan_is_held_against_the_steps_after_it(seen):
    structure = Structure(GRID, 7, "cpu")
    assert structure.steps == [0, 3, 4, 5, 6]
    for step in (2, 3, 4):
        structure.visit(dataclasses.replace(seen[-1], step=step))
    planned, later = (call["figures"] for call in structure.calls)
    # the same call again: the plan holds all that it should
    assert all(0.99 <= x <= 1.001 for x in later["plan_holds"])
    assert "plan_holds" not in planned and all(0 < x <= 1 for x in planned["plan_share"])
