"""Made-up q, k, v that are like real attention: what is published stays true of them."""

import json
import math
import statistics

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from psa_pack.benchmarks import __main__ as bench
from psa_pack.benchmarks import inputs, likeness_table, objects, plots, profiles
from psa_pack.benchmarks.likeness import Look, effective_rank

GRID = (4, 16, 24)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(plots, "draw", lambda path: [])  # test_bench draws them


@pytest.fixture(scope="module")
def figures():
    """Another seed, fewer tokens and fewer query blocks than the page's table has."""
    q, k, v = objects.make((8, 128, (8, 24, 24), 0), "objects", "cpu", torch.float32, seed=5)
    return Look((8, 24, 24), blocks=6).at(q, k, v).figures


@pytest.mark.parametrize(
    "name, least, most",
    [
        ("blocks_0.959", 0.40, 0.62), ("blocks_0.99", 0.58, 0.78), ("blocks_0.999", 0.75, 0.92),
        ("outside_top", 0.22, 0.42), ("lowest", 0, 0.05), ("near", 0.55, 0.80),
        ("stable_rank", 3, 12), ("rank_k", 8, 18), ("rank_v", 11, 20), ("mean_k", 0.65, 0.9),
        ("largest_channel", 4.5, 8), ("recall_own", 0.87, 0.95),
    ],
)  # fmt: skip
def test_the_mix_is_like_real_attention(figures, name, least, most):
    assert least <= statistics.fmean(figures[name]) <= most


def test_heads_of_the_mix_differ_as_a_model_s(figures):
    assert min(figures["std"]) < 1 and max(figures["std"]) > 4.5
    kinds = dict(zip(objects.PROFILES["objects"], figures["sinks"], strict=True))
    assert kinds["sinks"] > 0.1 and kinds["even"] < 0.02
    near = dict(zip(objects.PROFILES["objects"], figures["near"], strict=True))
    assert near["local"] > 0.7 and near["even"] < 0.45


@pytest.mark.parametrize("profile", objects.PROFILES)
def test_a_seed_is_one_input(profile):
    shape = (3, 64, GRID, 5)
    one, same = (objects.make(shape, profile, "cpu", seed=2) for _ in range(2))
    other = objects.make(shape, profile, "cpu", seed=3)
    # each head is drawn on its own, so fewer heads are the first ones of more
    fewer = objects.make(shape, profile, "cpu", heads=2, seed=2)
    for x, y, z, first in zip(one, same, other, fewer, strict=True):
        assert x.shape == (1, 3, 5 + math.prod(GRID), 64) and x.dtype == torch.bfloat16
        assert torch.equal(x, y) and not torch.equal(x, z) and torch.equal(x[:, :2], first)
        assert torch.isfinite(x).all() and x.transpose(1, 2).is_contiguous()


def weights(profile, head=0, seed=1):
    q, k, _ = objects.make((head + 1, 128, GRID, 0), profile, "cpu", torch.float32, seed=seed)
    return torch.softmax(q[0, head] @ k[0, head].T * 128**-0.5, 1)


def test_correspondence_follows_an_object_through_the_frames():
    """Keys of the same spot of an object get many times an even share, in other frames too."""
    found = weights("correspondence")
    scene = objects.scene_of(GRID, objects.generator("cpu", 1, 0))
    frame = torch.arange(len(found)) // (GRID[1] * GRID[2])
    alike = (scene.spot[:, None] == scene.spot) & (frame[:, None] != frame)
    assert found[alike].mean() * len(found) > 10


def test_values_of_correspondence_have_no_regard_to_place():
    _, _, v = objects.make((1, 128, GRID, 0), "correspondence", "cpu", torch.float32)
    _, _, smooth = objects.make((1, 128, GRID, 0), "strips", "cpu", torch.float32)

    def step(x):
        """Change from a token to its neighbour; 1 where they have nothing in common."""
        x = x[0, 0] - x[0, 0].mean(0)
        return ((x[1:] - x[:-1]).square().mean() / (2 * x.square().mean())).item()

    assert step(v) > 0.85 and step(smooth) < 0.6


def test_strips_keep_to_their_frame_or_their_place():
    frame = torch.arange(math.prod(GRID)) // (GRID[1] * GRID[2])
    place = torch.arange(math.prod(GRID)) % (GRID[1] * GRID[2])
    own_frame = frame[:, None] == frame
    rows, columns = place // GRID[2], place % GRID[2]
    own_place = ((rows[:, None] - rows).abs() <= 3) & ((columns[:, None] - columns).abs() <= 3)
    space, time = weights("strips", 0), weights("strips", 1)
    assert (space * own_frame).sum(1).mean() > 1.5 / GRID[0]
    for other in (own_frame, ~own_frame):
        share = (time * own_place * other).sum() / (time * other).sum()
        assert share > 3 * own_place.float().mean()
    assert (time * own_frame).sum(1).mean() < (space * own_frame).sum(1).mean()


def test_sinks_take_their_mass_and_give_little():
    q, k, v = objects.make((2, 128, GRID, 0), "sinks", "cpu", torch.float32)
    for head in range(2):
        p = torch.softmax(q[0, head] @ k[0, head].T * 128**-0.5, 1).mean(0)
        mass, keys = p.topk(4)
        assert 0.08 < mass.sum() < 0.5
        assert v[0, head, keys[0]].norm() < 0.3 * v[0, head].norm(dim=1).mean()


class Largest(TorchDispatchMode):
    """The most elements that any tensor has that is made."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, torch.Tensor):
                self.count = max(self.count, x.numel())
        return out


def test_tokens_are_made_without_a_matrix_of_them():
    _, _, grid, _ = inputs.SHAPES["tiny"]
    length = math.prod(grid)
    with Largest() as largest:
        objects.make("tiny", "correspondence", "cpu", heads=1)
    # 256 rows of logits, by which a head's sharpness is set
    assert length > 7000 and largest.count <= 256 * length


def test_the_kernel_bench_takes_them(tmp_path):
    line = ("--quick", "--only", "tail 64, 2nd", "--profiles", "objects", "--out", str(tmp_path))
    assert bench.main(line) == 0
    rows = json.loads((tmp_path / "shapes.json").read_text(encoding="utf-8"))["rows"]
    (ours,) = [row for row in rows if row["kind"] == "psa"]
    assert ours["profile"] == "objects" and ours["ms"] > 0 and 0 < ours["error"] < 1


def test_every_profile_has_a_name():
    source = profiles.Source((2, 64, GRID, 0), "cpu", torch.float32)
    found = {name: source.of(name) for name in profiles.ALL}
    assert len({round(q.square().mean().item(), 4) for q, _, _ in found.values()}) == len(found)
    wanted = objects.make((2, 64, GRID, 0), "objects", "cpu", torch.float32)
    assert all(torch.equal(x, y) for x, y in zip(found["objects"], wanted, strict=True))


def test_figures_of_known_attention():
    """Even attention: all that can be worked out by hand."""
    grid = (4, 16, 16)
    k, v = (torch.randn(1, 1, 1024, 64, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    found = Look(grid).at(torch.zeros(1, 1, 1024, 64), k, v)
    figures = {name: values[0] for name, values in found.figures.items()}
    assert figures["blocks_0.959"] == pytest.approx(31 / 32)
    assert figures["outside_top"] == pytest.approx(1 - 83 / 1024, abs=1e-4)
    assert figures["near"] == pytest.approx(159 / 1024, abs=1e-4)
    # one row of the 1/N after another, at other places; and no dimension is larger than another
    assert figures["sinks"] == pytest.approx(4 / 1024, abs=1e-4) and figures["std"] == 0
    assert figures["rank_v"] > 60 and figures["mean_k"] < 0.1
    assert figures["rough_v"] == pytest.approx(7 / 8, abs=0.02)
    assert found.held_by(found.plan())[0] == pytest.approx(1.0)
    assert found.held_by(torch.zeros_like(found.plan())) == [0]


def test_a_plan_of_another_step_holds_what_still_lies_in_it():
    grid = (4, 16, 16)
    q, k, v = objects.make((2, 64, grid, 0), "objects", "cpu", torch.float32)
    look = Look(grid)
    now, later = look.at(q, k, v), look.at(q + 0.3 * torch.randn_like(q), k, v)
    unlike = look.at(q.flip(2), k, v)
    own, close, far = (statistics.fmean(x.held_by(now.plan())) for x in (now, later, unlike))
    assert own >= 0.99 and own > close > far


def test_rank_of_known_dimensions():
    x = torch.randn(4000, 5) @ torch.linalg.qr(torch.randn(32, 5))[0].T
    assert effective_rank(x) == pytest.approx(5, abs=0.1)


def test_the_table_s_data_are_what_the_code_makes():
    data = json.loads(likeness_table.PROFILES.read_text(encoding="utf-8"))
    run = data["run"]
    shape = (run["heads"], run["dim"], tuple(run["grid"]), 0)
    q, k, v = objects.make(shape, "objects", "cpu", torch.float32, heads=1, seed=run["seed"])
    found = Look(tuple(run["grid"])).at(q, k, v).figures
    for name, (value,) in found.items():
        assert data["profiles"]["objects"][name][0] == pytest.approx(value, rel=0.02, abs=2e-3)
