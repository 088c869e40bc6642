"""On a device without PSA kernels a render stays dense: the reference would only slow it down."""

import logging

import torch

from .sampling import override_of, run_of


def test_a_call_off_the_cpu_without_kernels_stays_dense(comfy_inproc, caplog):
    run = run_of([None])
    override = override_of(run, 0)
    # the meta device is the one device without kernels that every machine has
    q, k, v = (torch.empty(1, 192, 256, device="meta") for _ in range(3))
    dense = object()
    with caplog.at_level(logging.WARNING, logger="PSA"):
        outs = [override(lambda *args, **kwargs: dense, q, k, v, heads=2) for _ in range(2)]

    assert outs == [dense, dense]
    report, _ = run.finish(None)
    (reason,) = report["calls"]["dense"]
    assert reason.startswith("no kernels: ") and "meta" in reason
    assert report["calls"] == {"sparse": 0, "dense": {reason: 2}}
    assert report["failure"] is None
    why = reason.removeprefix("no kernels: ")
    said = [record.message for record in caplog.records if "no kernels" in record.message]
    (line,) = said
    assert line.startswith(
        f"PSA has no kernels for calls like this one and leaves them dense: {why}. "
    )
    assert "PSA Self-test" in line
