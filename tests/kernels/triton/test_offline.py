"""Every GPU of the tuning table: the kernels compile for it, within its memory, unspilled."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from .offline import HOPPER, HOPPER_KERNELS, LDS, PRECISIONS, SHARED, TUNED

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
HOPPER_JOB = "cuda:90:bfloat16:128:level 1,every level,level 1 int8,level 8 int8"
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
BYTES_SPILLS = {"cuda:90": 64, "cuda:120": 64}
# levels 2 and 4 with the second moment: the eight keys of a group are held
POOL_SPILLS = {"cuda:86": 64, "cuda:89": 64}
# the first cuts of large blocks on one matrix, where registers hold an operand as well: see
# benchmarks/like-keys.md
GRAM_SPILLS = {
    "cuda:80": 576,
    "cuda:86": 576,
    "cuda:89": 576,
    "cuda:120": 720,
    "hip:gfx1100": 512,
}
# warps that fill rings have 40 registers: 0 to 212 bytes with Triton 3.8, 8 to 412 with 3.6
HOPPER_SPILLS = 448
ALLOWED = {
    ("some", "attend_kernel"): SPILLS, ("tuned", "attend_kernel"): SPILLS,
    ("int8", "attend_kernel"): INT8_SPILLS, ("int8", "pool_kernel"): BYTES_SPILLS,
    ("some", "pool_kernel"): POOL_SPILLS,
    ("some", "bisect_kernel"): GRAM_SPILLS,
}  # fmt: skip


@pytest.fixture(scope="module")
def all_lines():
    """Of all jobs, in one process."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("offline.py"), *JOBS, HOPPER_JOB],
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
        if x.get("target") in targets and (x["dtype"], x["dim"]) == (dtype, int(dim))
        and x["features"] not in HOPPER
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


@pytest.mark.parametrize("features", HOPPER_JOB.split(":")[-1].split(","))
def test_the_kernel_for_hopper_gpus_compiles_within_its_means(all_lines, features):
    (line,) = (x for x in all_lines if x["features"] == features)
    if "lacking" in line:
        pytest.skip(line["lacking"])
    assert line["kernel"] in HOPPER_KERNELS
    assert line["shared"] <= 1024 * SHARED[90]
    assert line["registers"] == 168  # of 384 threads, which then share them out anew
    assert line["spills"] <= (16 if features.startswith("level 1") else HOPPER_SPILLS)
    assert line["int8"] == features.endswith("int8")
    assert not line["half_sums"] and not line["serialised"]
