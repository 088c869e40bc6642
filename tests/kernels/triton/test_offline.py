"""Every GPU of the tuning table: the kernels compile for it, within its memory, unspilled."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from .offline import LDS, PRECISIONS, SHARED, TUNED

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)
# No kernel twice: CI has little time for this. sm_80 and short heads have only those kernels
# compiled that have settings of their own there: the others are as on sm_86. sm_89 takes what is
# compiled for sm_86.
JOBS = (
    "cuda:80:bfloat16:128:tuned", "cuda:86,89:bfloat16:128:some,sums,both",
    "cuda:86:float16:64:tuned", "cuda:90:bfloat16:128:some,int8", "cuda:100:bfloat16:128:some",
    "cuda:120:bfloat16:128:some,int8,both", "hip:gfx942:bfloat16:128:some",
    "hip:gfx1100:bfloat16:128:some",
)  # fmt: skip
KERNELS = {
    "some": {
        "_nearest_kernel", "_sum_kernel", "pool_kernel", "pool_queries_kernel", "mass_kernel",
        "share_kernel", "levels_kernel", "attend_kernel", "power_kernel", "scales_kernel",
        "bisect_kernel",
    },
    "tuned": TUNED,
    **{features: kernels for features, (_, kernels) in PRECISIONS.items()},
}  # fmt: skip
# the attention with every feature in one kernel; benchmarks/NOTES.md says why
SPILLS = {
    "cuda:80": 64, "cuda:86": 64, "cuda:89": 64, "cuda:90": 2560, "cuda:120": 64,
    "hip:gfx1100": 128,
}  # fmt: skip
INT8_SPILLS = {"cuda:90": 256, "cuda:120": 64}
# keys as bytes, under a limit on registers that is worth it
POOL_SPILLS = {"cuda:90": 160, "cuda:120": 192}
# the first cuts of large blocks on one matrix, where registers hold an operand as well: see
# benchmarks/like-keys.md
GRAM_SPILLS = {
    "cuda:80": 576,
    "cuda:86": 576,
    "cuda:89": 576,
    "cuda:120": 720,
    "hip:gfx1100": 512,
}
ALLOWED = {
    ("some", "attend_kernel"): SPILLS, ("tuned", "attend_kernel"): SPILLS,
    ("int8", "attend_kernel"): INT8_SPILLS, ("int8", "pool_kernel"): POOL_SPILLS,
    ("some", "bisect_kernel"): GRAM_SPILLS,
}  # fmt: skip


@pytest.fixture(scope="module")
def all_lines():
    """Of all jobs, in one process."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("offline.py"), *JOBS],
        capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("job", JOBS)
def test_kernels_compile_within_the_gpus_means(all_lines, job):
    kind, archs, dtype, dim, features = job.split(":")
    targets = [f"{kind}:{arch}" for arch in archs.split(",")]
    lines = [
        x for x in all_lines
        if x["target"] in targets and (x["dtype"], x["dim"]) == (dtype, int(dim))
    ]  # fmt: skip
    compiled = {(x["target"], x["features"], x["kernel"]) for x in lines}
    assert compiled == {
        (target, name, kernel)
        for target in targets for name in features.split(",") for kernel in KERNELS[name]
    }  # fmt: skip
    for kernel in lines:
        arch = kernel["target"].split(":")[1]
        assert kernel["shared"] <= 1024 * (SHARED[int(arch)] if kind == "cuda" else LDS), kernel
        allowed = ALLOWED.get((kernel["features"], kernel["kernel"]), {})
        assert kernel["spills"] <= allowed.get(kernel["target"], 16), kernel
        if kind == "cuda":
            # what the instructions are: products of bytes, sums in float16
            precise = kernel["features"] if kernel["kernel"] == "attend_kernel" else ""
            assert kernel["int8"] == (precise in ("int8", "both")), kernel
            assert kernel["half_sums"] == (precise in ("sums", "both")), kernel
