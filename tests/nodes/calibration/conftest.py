"""ComfyUI's own nodes for every test here, and calibrations of the tiny Wan."""

import pytest

from psa_pack.nodes.calibration.journal import Journal
from psa_pack.nodes.preset_value import PresetValue

from ..sampling import sparse_config

STEPS, BLOCKS = 5, 2


@pytest.fixture(scope="module", autouse=True)
def pack(comfy_inproc):
    comfy_inproc.load_pack()


def always_similar(monkeypatch):
    """Like keys are put together, whatever this untrained model has to say."""
    from psa_pack.nodes.calibration import grouping

    monkeypatch.setattr(grouping, "MARGIN", -10.0)


@pytest.fixture
def calibrate(bench, tmp_path):
    """(measurements, units of progress) of one calibration; its journal is in `folder`."""
    from psa_pack.nodes.calibration.run import Effort, measure

    def run(config=None, *, model=None, folder="one", effort=(3, 1), on_progress=None, **sampling):
        own = config or sparse_config(warmup_steps=1)
        journal = Journal(tmp_path / folder, {"preset": own.to_preset()})
        seen = []

        def progress(done, total):
            seen.append((done, total))
            if on_progress:
                on_progress(done, total)

        found = measure(
            model or bench.model, PresetValue(own, name="base"), Effort(*effort),
            lambda model: bench.sample(model, steps=STEPS, **sampling), journal, progress,
        )  # fmt: skip
        return found, seen

    return run
