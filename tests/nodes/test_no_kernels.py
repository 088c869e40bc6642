"""On a device without PSA kernels a render stays dense: the reference would only slow it down."""

import logging

import torch

from .sampling import sparse_config

GRID = (3, 8, 8)


def test_a_call_off_the_cpu_without_kernels_stays_dense(comfy_inproc, caplog):
    from psa_engines.core.schedule import Schedule, Step
    from psa_engines.core.token_grid import TokenGrid
    from psa_pack.nodes.patching.override import AttentionOverride
    from psa_pack.nodes.patching.run import PatchOptions, Run
    from psa_pack.nodes.preset_value import PresetValue

    run = Run(PresetValue(sparse_config()), PatchOptions(), Schedule((Step(1.0, None),)))
    override = AttentionOverride(run, TokenGrid(GRID, (1, 2, 2)), 0, key="k", previous=None)
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
