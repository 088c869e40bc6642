"""A GPU that no test machine has, and what was measured there: easy figures to reckon with.

Dense calls run at 100 TFLOP/s at either length. In units of them a call of PSA takes 0.05 and 1.2
times its density; 0.02 more where groups of like keys are made anew, 0.01 less where they are
kept. With key blocks of 64 all of it takes 1.1 times as long. The rest of a model runs at 200
TFLOP/s.
"""

import json

from psa_kernels.triton import tuning

DENSE = "PyTorch attention"  # what ComfyUI's tests run
MACHINE = {
    "gpu": "NVIDIA GeForce RTX 4090", "driver": "580.1", "torch": "2.11.0", "triton": "3.6.0",
    "kernels": "0123456789ab",
}  # fmt: skip
DATE = "2031-01-01"


def dense_ms(tokens, heads, head_dim=128):
    return 4 * tokens**2 * heads * head_dim / 100e12 * 1e3


def call(tokens, heads, head_dim=128, against=DENSE):
    dense = dense_ms(tokens, heads, head_dim)
    psa = [
        {"density": density} | {
            name: dense * (0.05 + more + 1.2 * density)
            for name, more in (("order_ms", 0), ("anew_ms", 0.02), ("kept_ms", -0.01))
        }
        for density in (0.1, 0.3)
    ]  # fmt: skip
    return {"tokens": tokens, "heads": heads, "dense_ms": {against: dense}, "psa": psa}


def entry(head_dim=128, times=True, **changes):
    attend, importance = (vars(x["sm_86"][128]) for x in (tuning.ATTEND, tuning.ESTIMATE))
    found = MACHINE | {
        "head_dim": head_dim, "dtype": "bfloat16", "date": DATE, "qk": "half",
        "attend": {"half": attend},
        "estimate": importance,
        "gain": {"attention": 1.1, "importance": 1.0}, "tried": 20, "left_out": [],
    }  # fmt: skip
    if times:
        calls = [call(32_760, 12, head_dim), call(75_600, 4, head_dim)]
        found["times"] = {"matmul_tflops": 200.0, "calls": calls, "n64": 1.1}
    return found | changes


def write(path, *entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    found = entries or (entry(128), entry(64))
    path.write_text(json.dumps({"format": 1, "measured": found}), encoding="utf-8")
