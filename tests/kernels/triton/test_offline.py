"""Every GPU of the tuning table: the kernels compile for it, within its memory, unspilled."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from .offline import LDS, SHARED

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
JOBS = (
    "cuda:80:bfloat16:128", "cuda:86:bfloat16:128", "cuda:89:float16:64", "cuda:90:bfloat16:128",
    "cuda:100:bfloat16:128", "cuda:120:bfloat16:128", "hip:gfx942:bfloat16:128",
    "hip:gfx1100:bfloat16:128",
)  # fmt: skip
# the attention with every feature in one kernel; benchmarks/NOTES.md says why
SPILLS = {"cuda:80": 64, "cuda:86": 64, "cuda:90": 2560, "cuda:120": 64, "hip:gfx1100": 128}
INT8_SPILLS = {"cuda:89": 64, "cuda:90": 256, "cuda:120": 64}
# the first cuts of large blocks on one matrix, where registers hold an operand as well: see
# benchmarks/like-keys.md
GRAM_SPILLS = {
    "cuda:80": 576, "cuda:86": 576, "cuda:89": 576, "cuda:120": 720, "hip:gfx1100": 512,
}


def compiled(job):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("offline.py"), job],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


# sm_86 takes the row of sm_89, sm_80 the same instructions: CI has no time for both
@pytest.mark.parametrize("arch", ["89", "90", "120"])
def test_int8_products_are_that_to_the_gpu_and_within_its_means(arch):
    found = {x["kernel"]: x for x in compiled(f"cuda:{arch}:bfloat16:128:int8")}
    attend = found["attend_kernel"]
    assert attend["int8"] and not found["bytes_kernel"]["int8"]
    assert attend["shared"] <= 1024 * SHARED[int(arch)], attend
    assert attend["spills"] <= INT8_SPILLS.get(f"cuda:{arch}", 16), attend


@pytest.mark.parametrize("job", JOBS)
def test_kernels_compile_within_the_gpus_means(job):
    kernels = compiled(f"{job}:some")
    assert {x["kernel"] for x in kernels} == {
        "_nearest_kernel", "_sum_kernel", "pool_kernel", "pool_queries_kernel", "mass_kernel",
        "share_kernel",
        "levels_kernel", "attend_kernel", "power_kernel", "scales_kernel", "bisect_kernel",
    }  # fmt: skip
    kind, arch = job.split(":")[:2]
    limit = 1024 * (SHARED[int(arch)] if kind == "cuda" else LDS)
    for kernel in kernels:
        assert kernel["shared"] <= limit, kernel
        assert not kernel["int8"], kernel  # qk is half
        allowances = {"attend_kernel": SPILLS, "bisect_kernel": GRAM_SPILLS}
        allowed = allowances.get(kernel["kernel"], {}).get(f"{kind}:{arch}", 16)
        assert kernel["spills"] <= allowed, kernel
