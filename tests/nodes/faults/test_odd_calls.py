"""One attention call unlike the others: it has a reason of its own, and the run stays sparse."""

import itertools

import pytest
import torch

from .test_signatures import BLOCKS, CALLS, STEPS, attention, calls

# the second block of the second step: in the first one both conditions have the same k and v
ODD = BLOCKS + 1


def odd_call(monkeypatch, change):
    """In one call of self-attention q, k and v are what `change` makes of them, by heads.

    Dense, such a call is left as it was: torch's attention takes not all of them.
    """
    numbers = itertools.count()

    def call(override, func, args, kwargs):
        q, k, _ = args
        if q.shape != k.shape or next(numbers) != ODD:
            return override(func, *args, **kwargs)
        heads = kwargs["heads"]
        tensors = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in args)

        def dense(*_, **__):
            return func(*args, **kwargs)

        return override(dense, *change(*tensors), **kwargs, skip_reshape=True)

    attention(monkeypatch, call)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda q, k, v: (q, k.double(), v), "mixed dtypes"),
        (lambda q, k, v: (q, k, torch.cat((v, v), -1)), "values of another size than keys"),
        (lambda q, k, v: (q[:1], k, v), "batches of several sizes"),
    ],
    ids=["dtypes", "wide values", "one query for a batch"],
)
def test_a_call_that_psa_cannot_serve_stays_dense_alone(bench, monkeypatch, change, reason):
    odd_call(monkeypatch, change)
    out = bench.sample(bench.patch(), steps=STEPS)
    assert torch.isfinite(out).all()
    assert calls(bench) == (CALLS - 1, {reason: 1})
    assert bench.report["failure"] is None
    assert [step["sparse"] for step in bench.report["steps"]] == [BLOCKS, BLOCKS - 1, BLOCKS]


def test_one_k_and_v_for_a_batch_are_served(bench, monkeypatch):
    with monkeypatch.context() as patch:
        odd_call(patch, lambda q, k, v: (q, *(torch.cat([x[:1]] * len(q)) for x in (k, v))))
        expected = bench.sample(bench.patch(), steps=STEPS)
    assert calls(bench) == (CALLS, {})
    odd_call(monkeypatch, lambda q, k, v: (q, k[:1], v[:1]))
    assert torch.equal(bench.sample(bench.patch(), steps=STEPS), expected)
    assert calls(bench) == (CALLS, {}) and bench.report["failure"] is None
    monkeypatch.undo()
    assert not torch.equal(bench.sample(bench.patch(), steps=STEPS), expected)
