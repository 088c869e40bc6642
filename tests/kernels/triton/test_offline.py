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
SPILLS = {"cuda:80": 64, "cuda:86": 64, "cuda:90": 96, "cuda:120": 64, "hip:gfx1100": 128}
# the first cuts of large blocks on one matrix, where registers hold an operand as well: see
# benchmarks/like-keys.md
GRAM_SPILLS = {
    "cuda:80": 576, "cuda:86": 576, "cuda:89": 576, "cuda:120": 720, "hip:gfx1100": 512,
}


@pytest.mark.parametrize("job", JOBS)
def test_kernels_compile_within_the_gpus_means(job, tmp_path):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("offline.py"), f"{job}:some"],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert {x["kernel"] for x in kernels} == {
        "_nearest_kernel", "_sum_kernel", "pool_kernel", "_pool_queries", "_share_kernel",
        "levels_kernel", "attend_kernel", "power_kernel", "scales_kernel", "bisect_kernel",
    }  # fmt: skip
    kind, arch = job.split(":")[:2]
    limit = 1024 * (SHARED[int(arch)] if kind == "cuda" else LDS)
    for kernel in kernels:
        assert kernel["shared"] <= limit, kernel
        allowances = {"attend_kernel": SPILLS, "bisect_kernel": GRAM_SPILLS}
        allowed = allowances.get(kernel["kernel"], {}).get(f"{kind}:{arch}", 16)
        assert kernel["spills"] <= allowed, kernel
