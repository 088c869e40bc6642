"""The tuner over real kernels in Triton's interpreter (a program of test_tune.py).

python tune_interpreted.py FILE wrong      a few variants, one of them with wrong numbers
python tune_interpreted.py FILE command    as the command runs it, to be interrupted
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests import pack_import

pack_import.install()

import torch  # noqa: E402

from psa_kernels import measured  # noqa: E402
from psa_kernels.triton import tuning  # noqa: E402
from psa_kernels.tune import __main__ as command  # noqa: E402
from psa_kernels.tune import bench, candidates, run, timing  # noqa: E402
from psa_kernels.tune.search import Budget  # noqa: E402
from tests.kernels.interpreter import broken  # noqa: E402

CPU = torch.device("cpu")
GRID = (1, 8, 10)
FILE = Path(sys.argv[1])
HEAD_DIM = 32  # the least that int8 has
SIZES = {"small": GRID, "large": GRID, "long": GRID, "width": HEAD_DIM}
bench.HEADS = 1
bench.alternate = partial(timing.alternate, least=1, most=1)
ONE, OTHER = tuning.Attend(64, 32, 4, 2, 2, 2, 2), tuning.Attend(32, 64, 4, 2, 2, 2, 2)


class Wrong(bench.CallBench):
    """The kernels, of whose outputs those of one variant are a little off."""

    def __init__(self, *call):
        super().__init__(*call, **SIZES)
        right = self.small.run

        def off(variant, launched=None):
            return right(variant, launched) * (1.01 if variant.settings == OTHER else 1)

        self.small.run = off


def no_times(*call, **how):
    return {}, {}


# a shell's background job, and all that it starts, ignores it
signal.signal(signal.SIGINT, signal.default_int_handler)
if reason := broken():
    sys.exit(reason)
if sys.argv[2] == "wrong":
    candidates.shapes = lambda row, width, tma, limits: (
        [candidates.Variant(ONE), candidates.Variant(OTHER)] if row.kernel == "attention" else []
    )
    candidates.depths = lambda best: []
    result = run.tune(HEAD_DIM, torch.float16, budget=Budget(3600), file=FILE, device=CPU,
                      make_bench=Wrong, measure_times=no_times, say=print)  # fmt: skip
    assert result.changed and len(result.lines) == 1, result
    os.environ["PSA_MEASURED"] = str(FILE)
    assert measured.entry(CPU, HEAD_DIM, torch.float16)["gain"]
    print("all right")
else:
    torch.cuda.is_available = lambda: True
    run.tune = partial(run.tune, device=CPU, make_bench=partial(bench.CallBench, **SIZES),
                       measure_times=no_times)  # fmt: skip
    sys.argv = ["tune", "--head-dim", str(HEAD_DIM), "--dtype", "float16", "--seconds", "300",
                "--file", str(FILE)]  # fmt: skip
    command.end(command.main)
