"""The tuner over real kernels in Triton's interpreter (a program of test_tune.py).

python tune_interpreted.py FILE wrong      a few variants, one of them with wrong numbers
python tune_interpreted.py FILE alike      what the kernels of the two sizes are compiled for
python tune_interpreted.py FILE times      what whole calls take, and what the file then holds
python tune_interpreted.py FILE command    as the command runs it, to be interrupted
"""

import inspect
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests import pack_import

pack_import.install()

import torch  # noqa: E402

from psa_kernels import measured  # noqa: E402
from psa_kernels.triton import attention, estimate, tuning  # noqa: E402
from psa_kernels.tune import __main__ as command  # noqa: E402
from psa_kernels.tune import bench, candidates, run, times, timing  # noqa: E402
from psa_kernels.tune.search import Budget  # noqa: E402

CPU = torch.device("cpu")
GRID = (1, 8, 10)
FILE = Path(sys.argv[1])
SMALL = partial(bench.CallBench, small=GRID, large=GRID, long=GRID, width=64)
ONE, OTHER = tuning.Attend(64, 32, 4, 2, 2, 2, 2), tuning.Attend(32, 64, 4, 2, 2, 2, 2)


class Wrong(bench.CallBench):
    """The kernels, of whose outputs those of one variant are a little off."""

    def __init__(self, *call):
        super().__init__(*call, small=GRID, large=GRID, long=GRID, width=64)
        right = self.small.run

        def off(variant, launched=None):
            return right(variant, launched) * (1.01 if variant.settings == OTHER else 1)

        self.small.run = off


def compiled_for(call, module, kernel):
    """What Triton compiles a kernel anew for: of pointers and numbers, whether 16 divides them."""
    real, seen = getattr(module, kernel), []

    class Noted:
        def __getitem__(self, grid):
            return lambda *values, **constants: seen.append(values)

    setattr(module, kernel, Noted())
    for row in (tuning.row_attend, tuning.row_estimate):
        call.run(candidates.Variant(row(CPU, torch.float16, 64)))
    setattr(module, kernel, real)
    names = inspect.signature(real.fn).parameters
    free = set(real.kwargs["do_not_specialize"])
    (values,) = seen
    return {
        name: x.data_ptr() % 16 == 0 if isinstance(x, torch.Tensor) else (x == 1, x % 16 == 0)
        for name, x in zip(names, values, strict=False)
        if name not in free and not isinstance(x, float)
    }


def no_times(*call, **how):
    return {}, {}


if sys.argv[2] == "times":
    os.environ["PSA_MEASURED"] = str(FILE)
    times.alternate = partial(timing.alternate, least=1, most=1)
    found, left_out = times.measure(CPU, 16, torch.float16, budget=Budget(600), say=print,
                                    sizes=(((1, 32, 40), 16), ((1, 32, 48), 16)))  # fmt: skip
    assert not left_out and [x["tokens"] for x in found["calls"]] == [1280, 1536], left_out
    for one in found["calls"]:
        thin, thick = one["psa"]
        assert 0 < thin["density"] < thick["density"] < 1 and one["dense_ms"][times.LIBRARY] > 0
        assert found["n64"] > 0
        assert thick["kept_ms"] < thick["anew_ms"], one  # neither groups nor plan are made
    print("all timed")
elif sys.argv[2] == "alike":
    calls = bench.CallBench(CPU, 64, torch.float16, small=GRID, large=(2, 8, 10), long=GRID,
                            width=768)  # fmt: skip
    assert calls.large.q.shape[1] == 12
    for module, kernel in ((attention, "attend_kernel"), (estimate, "mass_kernel")):
        small, large = (compiled_for(x, module, kernel) for x in (calls.small, calls.large))
        assert small and small == large, (small, large)
    print("all alike")
elif sys.argv[2] == "wrong":
    candidates.shapes = lambda row, width, tma, limits: (
        [candidates.Variant(ONE), candidates.Variant(OTHER)] if row.kernel == "attention" else []
    )
    candidates.depths = lambda best: []
    result = run.tune(64, torch.float16, budget=Budget(120), file=FILE, device=CPU,
                      make_bench=Wrong, measure_times=no_times, say=print)  # fmt: skip
    assert result.changed and len(result.lines) == 1, result
    os.environ["PSA_MEASURED"] = str(FILE)
    assert measured.entry(CPU, 64, torch.float16)["gain"]
    print("all right")
else:
    torch.cuda.is_available = lambda: True
    run.tune = partial(run.tune, device=CPU, make_bench=SMALL, measure_times=no_times)
    sys.argv = ["tune", "--head-dim", "64", "--dtype", "float16", "--seconds", "300",
                "--file", str(FILE)]  # fmt: skip
    command.end(command.main)
